// What the comparison of layouts lets pass, and what it does not. Run by `node build.mjs --test`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { breaks, read } from "./layout.mjs";

const kept = JSON.parse(readFileSync(new URL("./layout.json", import.meta.url), "utf8"));
const copy = () => structuredClone(kept);
const structOf = (layout, label) => Object.values(layout.types).find((type) => type.label === `struct ${label}`);
const last = (list) => list[list.length - 1];

test("the same layout breaks nothing", () => assert.deepEqual(breaks(kept, copy()), []));

test("members may be appended to a namespace and to the values of mappings", () => {
  for (const name of ["HubStorage.State", "HubStorage.Deal", "HubStorage.Task", "HubStorage.Account", "DiamondStorage.Route"]) {
    const next = copy();
    const members = structOf(next, name).members;
    members.push({ label: "added", slot: last(members).slot + 1, offset: 0, type: "t_uint256" });
    assert.deepEqual(breaks(kept, next), [], name);
  }
});

test("nothing may move, be renamed, be retyped or go", () => {
  const changes = [
    (members) => members.shift(),
    (members) => members.pop(),
    (members) => (members[0].label = "renamed"),
    (members) => (members[1].slot += 1),
    (members) => (members[1].offset += 1),
    (members) => (members[1].type = "t_int256"),
    (members) => ([members[0], members[1]] = [members[1], members[0]]),
  ];
  for (const name of ["HubStorage.State", "HubStorage.Deal", "HubStorage.Task", "HubStorage.Contribution"]) {
    for (const change of changes) {
      const next = copy();
      change(structOf(next, name).members);
      assert.notDeepEqual(breaks(kept, next), [], `${name}: ${change}`);
    }
  }
});

test("a struct in an array may not grow", () => {
  const next = copy();
  const members = structOf(next, "IexecLibCore_v5.Category").members;
  members.push({ label: "added", slot: last(members).slot + 1, offset: 0, type: "t_uint256" });
  assert.match(breaks(kept, next).join(), /grew/);
});

test("a type may not change its size, an array its length, a mapping its keys", () => {
  for (const change of [
    (types) => (types.t_address.bytes = 32),
    (types) => delete types["t_array(t_address)32_storage"],
    (types) => (Object.values(types).find((type) => type.key === "t_bytes32").key = "t_uint256"),
  ]) {
    const next = copy();
    change(next.types);
    assert.notDeepEqual(breaks(kept, next), [], String(change));
  }
});

test("ids of the compiler's syntax tree are not part of a layout", () => {
  const of = (n) => ({
    storage: [{ label: "hub", slot: "7", offset: 0, type: `t_struct(State)${n}_storage` }],
    types: {
      [`t_struct(State)${n}_storage`]: {
        label: "struct State",
        numberOfBytes: "32",
        members: [{ label: "a", slot: "0", offset: 0, type: "t_uint256", astId: n }],
      },
      t_uint256: { label: "uint256", numberOfBytes: "32" },
    },
  });
  assert.deepEqual(read(of(1)), read(of(23)));
});
