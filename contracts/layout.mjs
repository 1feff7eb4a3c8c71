// How the hub lays out its storage, in a form that can be kept and compared between versions.
//
// A hub that exists keeps its state when a facet is replaced, so a new version must find everything where the old one put it.
// What is safe: new members at the end of a namespace, and at the end of a struct that is only ever the value of a mapping.
// What is not: anything moved, retyped, renamed or removed, and any change of a struct inside an array or another struct, since
// whatever lies behind it would move.

// {roots, types} of the compiler's storageLayout of StorageLayout.sol.
export function read({ storage, types }) {
  // The compiler's ids of named types carry numbers of its syntax tree, which say nothing about the layout; their labels tell
  // types of the same name apart.
  const named = /t_(struct|contract|enum|userDefinedValueType)\([^()]*\)\d+(_storage)?/g;
  const plain = (id) => id.replace(named, (found) => types[found]?.label ?? found);
  const member = ({ label, slot, offset, type }) => ({ label, slot: Number(slot), offset, type: plain(type) });
  const kept = {};
  for (const [id, type] of Object.entries(types)) {
    kept[plain(id)] = {
      label: type.label,
      bytes: Number(type.numberOfBytes),
      ...(type.key && { key: plain(type.key), value: plain(type.value) }),
      ...(type.base && { element: plain(type.base) }),
      ...(type.members && { members: type.members.map(member) }),
    };
  }
  const sorted = Object.fromEntries(Object.keys(kept).sort().map((id) => [id, kept[id]]));
  // Where a variable of StorageLayout begins is not where its namespace does.
  const roots = Object.fromEntries(storage.map(({ label, type }) => [label, plain(type)]));
  return { roots, types: sorted };
}

// What in `next` a hub with the layout `old` would misread; empty if nothing.
export function breaks(old, next) {
  const found = [];
  const seen = new Set();
  for (const [name, type] of Object.entries(old.roots)) {
    if (next.roots[name] !== type) found.push(`the namespace ${name} is gone`);
    else compare(type, true, name);
  }
  return found;

  function compare(id, mayGrow, place) {
    const key = `${id} ${mayGrow}`;
    if (seen.has(key)) return;
    seen.add(key);
    const [before, after] = [old.types[id], next.types[id]];
    if (after === undefined) return void found.push(`${place}: the type ${before.label} is gone`);
    if (before.key && before.key !== after.key) found.push(`${place}: other keys`);
    if (before.value) same(before.value, after.value, true, `${place}[]`);
    if (before.element) same(before.element, after.element, false, `${place}[]`);
    if (!before.members) {
      if (before.bytes !== after.bytes) found.push(`${place}: ${before.label} has another size`);
      return;
    }
    before.members.forEach((was, i) => {
      const is = after.members[i];
      const where = `${place}.${was.label}`;
      if (is === undefined) found.push(`${where} is gone`);
      else if (is.label !== was.label) found.push(`${where} is now ${is.label}`);
      else if (is.slot !== was.slot || is.offset !== was.offset) found.push(`${where} moved`);
      else same(was.type, is.type, false, where);
    });
    if (!mayGrow && after.members.length > before.members.length) {
      found.push(`${place}: ${before.label} grew, and what lies behind it moves`);
    }
  }

  function same(was, is, mayGrow, place) {
    if (was !== is) found.push(`${place}: ${old.types[was].label} became ${next.types[is]?.label ?? is}`);
    else compare(was, mayGrow, place);
  }
}
