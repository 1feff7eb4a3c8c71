// Read a zip of stored files: enough to look into a downloaded result without another package.

const END = 0x06054b50;
const CENTRAL = 0x02014b50;

/// The files by their names.
export function readZip(bytes) {
  let end = bytes.length - 22;
  while (end >= 0 && bytes.readUInt32LE(end) !== END) end -= 1;
  if (end < 0) throw new Error("not a zip");
  const files = new Map();
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left -= 1) {
    if (bytes.readUInt32LE(at) !== CENTRAL) throw new Error("the zip's directory is damaged");
    const [method, length] = [bytes.readUInt16LE(at + 10), bytes.readUInt32LE(at + 24)];
    const [nameLength, extra, comment] = [28, 30, 32].map((offset) => bytes.readUInt16LE(at + offset));
    const local = bytes.readUInt32LE(at + 42);
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    if (method !== 0) throw new Error("a file of the zip is compressed");
    files.set(bytes.toString("utf8", at + 46, at + 46 + nameLength), bytes.subarray(start, start + length));
    at += 46 + nameLength + extra + comment;
  }
  return files;
}
