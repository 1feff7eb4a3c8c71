//! The incremental hexary Merkle-Patricia trie.
//!
//! Nodes are kept by *path* (the nibbles from the root), so that the store holds one version of the trie and never grows
//! with history; a node is checked against the hash its parent holds whenever it is read, so a damaged store is noticed
//! and never leads to a wrong root. Keys are 32-byte hashes, hence no branch ever carries a value.
//!
//! A [`Trie`] keeps the nodes it touched in memory after a commit; [`Trie::forget`] drops them.

use alloy_primitives::{B256, keccak256};
use alloy_trie::nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode, TrieNode};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieMask};

#[cfg(test)]
mod tests;

/// Length of a key in nibbles: keys are 32-byte hashes.
const KEY_NIBBLES: usize = 64;

/// Where stored nodes are read from. Implementations return the bytes last written at a path.
pub trait NodeSource {
    /// The encoded node at `path` (one byte a nibble), or `None` if nothing is stored there.
    fn node(&self, path: &[u8]) -> Result<Option<Vec<u8>>, TrieError>;
}

/// Why the trie could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrieError {
    /// A node that its parent refers to is not stored.
    #[error("trie node at path {path:?} is missing: the ledger's state is damaged")]
    Missing {
        /// Nibbles of the path.
        path: Vec<u8>,
    },
    /// The stored bytes do not have the hash that the parent holds.
    #[error("trie node at path {path:?} does not match its hash: the ledger's state is damaged")]
    Mismatch {
        /// Nibbles of the path.
        path: Vec<u8>,
    },
    /// The stored bytes are not a trie node.
    #[error("trie node at path {path:?} cannot be decoded")]
    Malformed {
        /// Nibbles of the path.
        path: Vec<u8>,
        /// What the decoder said.
        #[source]
        source: alloy_rlp::Error,
    },
    /// The store failed.
    #[error("a trie node could not be read")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Changes of the node store that one commit makes, keyed by path.
#[derive(Debug, Default)]
pub struct NodeChanges {
    /// Paths whose nodes are gone. They are applied before `written`.
    pub removed: Vec<Vec<u8>>,
    /// Encoded nodes by path.
    pub written: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A Merkle-Patricia trie of which only the touched part is in memory.
#[derive(Debug)]
pub struct Trie {
    root: Link,
    root_hash: B256,
    /// Paths of stored nodes that were moved or dropped since the last commit.
    removed: Vec<Nibbles>,
    /// Nodes in memory, counted when they are read or made; an upper estimate after removals.
    loaded_count: usize,
}

/// What a parent knows about a child.
#[derive(Debug, Clone)]
enum Link {
    Empty,
    /// Not in memory: a hash, or the whole encoding when it is shorter than 32 bytes.
    Stored(RlpNode),
    Loaded(Box<Loaded>),
}

#[derive(Debug, Clone)]
struct Loaded {
    node: Node,
    /// The reference a parent holds. `None` means that the node changed since the last commit.
    reference: Option<RlpNode>,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf { key: Nibbles, value: Vec<u8> },
    Extension { key: Nibbles, child: Link },
    Branch(Box<[Link; 16]>),
}

impl Trie {
    /// Opens the trie that has this root.
    pub fn new(root_hash: B256) -> Self {
        Self { root: root_link(root_hash), root_hash, removed: Vec::new(), loaded_count: 0 }
    }

    /// The root of the last commit.
    #[cfg(test)]
    pub fn root_hash(&self) -> B256 {
        self.root_hash
    }

    /// How many nodes are in memory (an upper estimate).
    pub fn loaded_count(&self) -> usize {
        self.loaded_count
    }

    /// Drops the nodes in memory. Uncommitted changes are lost.
    pub fn forget(&mut self) {
        *self = Self::new(self.root_hash);
    }

    /// Sets the value of `key`; `None` removes it.
    ///
    /// After an error the trie must be dropped or [forgotten](Self::forget): part of it may be detached.
    pub fn set<S: NodeSource>(&mut self, source: &S, key: B256, value: Option<Vec<u8>>) -> Result<(), TrieError> {
        let root = std::mem::replace(&mut self.root, Link::Empty);
        let key = Nibbles::unpack(key);
        let mut edit = Edit { source, removed: &mut self.removed, loaded_count: &mut self.loaded_count };
        self.root = match value {
            Some(value) => edit.insert(root, Nibbles::new(), key, value)?,
            None => edit.remove(root, Nibbles::new(), key)?,
        };
        Ok(())
    }

    /// Hashes what changed, and returns the new root and the writes that bring the store up to it.
    pub fn commit(&mut self) -> (B256, NodeChanges) {
        let mut changes = NodeChanges::default();
        for path in self.removed.drain(..) {
            changes.removed.push(path.to_vec());
        }
        let mut root_encoding = Vec::new();
        let reference = hash_link(&mut self.root, Nibbles::new(), &mut changes, &mut root_encoding);
        self.root_hash = match reference {
            None => {
                if matches!(self.root, Link::Empty) {
                    changes.removed.push(Vec::new());
                }
                EMPTY_ROOT_HASH
            }
            // The root is named by its hash even when its encoding is short.
            Some(reference) => match reference.as_hash() {
                Some(hash) => hash,
                None => {
                    let hash = keccak256(reference.as_slice());
                    changes.written.push((Vec::new(), reference.as_slice().to_vec()));
                    hash
                }
            },
        };
        (self.root_hash, changes)
    }
}

/// Collects the nodes from the root towards `key`: the proof that the value of `key` is what it is.
///
/// The nodes come from the store alone, so the root must be a committed one.
pub fn proof<S: NodeSource>(source: &S, root: B256, key: B256) -> Result<Vec<Vec<u8>>, TrieError> {
    let mut nodes = Vec::new();
    if root == EMPTY_ROOT_HASH {
        return Ok(nodes);
    }
    let key = Nibbles::unpack(key);
    let mut reference = RlpNode::word_rlp(&root);
    let mut path = Nibbles::new();
    while path.len() <= KEY_NIBBLES {
        let encoding = read_node(source, &path, &reference)?;
        let node = decode(&encoding, &path)?;
        if reference.is_hash() {
            nodes.push(encoding);
        }
        reference = match node {
            TrieNode::Branch(branch) if path.len() < KEY_NIBBLES => {
                let nibble = key.get_unchecked(path.len());
                path.push(nibble);
                let children = branch.as_ref();
                let child = children.children().find(|(index, _)| *index == nibble);
                match child.and_then(|(_, child)| child.cloned()) {
                    Some(child) => child,
                    None => break,
                }
            }
            TrieNode::Extension(extension) => {
                path.extend(&extension.key);
                if !key.starts_with(&path) {
                    break;
                }
                extension.child
            }
            _ => break,
        };
    }
    Ok(nodes)
}

/// One change on its way down the trie.
struct Edit<'a, S> {
    source: &'a S,
    removed: &'a mut Vec<Nibbles>,
    loaded_count: &'a mut usize,
}

impl<S: NodeSource> Edit<'_, S> {
    fn load(&mut self, link: Link, path: &Nibbles) -> Result<Option<Box<Loaded>>, TrieError> {
        match link {
            Link::Empty => Ok(None),
            Link::Loaded(loaded) => Ok(Some(loaded)),
            Link::Stored(reference) => {
                let encoding = read_node(self.source, path, &reference)?;
                let node = match decode(&encoding, path)? {
                    TrieNode::EmptyRoot => return Ok(None),
                    TrieNode::Leaf(leaf) => Node::Leaf { key: leaf.key, value: leaf.value },
                    TrieNode::Extension(extension) => {
                        Node::Extension { key: extension.key, child: Link::Stored(extension.child) }
                    }
                    TrieNode::Branch(branch) => {
                        let mut children = empty_children();
                        for (index, child) in branch.as_ref().children() {
                            if let Some(child) = child {
                                children[usize::from(index)] = Link::Stored(child.clone());
                            }
                        }
                        Node::Branch(children)
                    }
                };
                *self.loaded_count += 1;
                Ok(Some(Box::new(Loaded { node, reference: Some(reference) })))
            }
        }
    }

    fn make(&mut self, node: Node) -> Link {
        *self.loaded_count += 1;
        dirty(node)
    }

    fn insert(&mut self, link: Link, path: Nibbles, rest: Nibbles, value: Vec<u8>) -> Result<Link, TrieError> {
        let Some(loaded) = self.load(link, &path)? else {
            return Ok(self.make(Node::Leaf { key: rest, value }));
        };
        match loaded.node {
            Node::Leaf { key, value: old } => {
                if key == rest {
                    if old == value {
                        let node = Node::Leaf { key, value };
                        return Ok(Link::Loaded(Box::new(Loaded { node, ..*loaded })));
                    }
                    return Ok(dirty(Node::Leaf { key, value }));
                }
                let common = key.common_prefix_length(&rest);
                let mut children = empty_children();
                children[nibble(&key, common)] = self.make(Node::Leaf { key: key.slice(common + 1..), value: old });
                children[nibble(&rest, common)] = self.make(Node::Leaf { key: rest.slice(common + 1..), value });
                Ok(self.under_prefix(rest.slice(..common), dirty(Node::Branch(children))))
            }
            Node::Extension { key, child } => {
                let common = key.common_prefix_length(&rest);
                if common == key.len() {
                    let below = path.join(&key);
                    let child = self.insert(child, below, rest.slice(common..), value)?;
                    return Ok(dirty(Node::Extension { key, child }));
                }
                let mut children = empty_children();
                let tail = key.slice(common + 1..);
                children[nibble(&key, common)] = self.under_prefix(tail, child);
                children[nibble(&rest, common)] = self.make(Node::Leaf { key: rest.slice(common + 1..), value });
                Ok(self.under_prefix(rest.slice(..common), dirty(Node::Branch(children))))
            }
            Node::Branch(mut children) => {
                let index = nibble(&rest, 0);
                let child = std::mem::replace(&mut children[index], Link::Empty);
                let below = child_path(&path, index);
                children[index] = self.insert(child, below, rest.slice(1..), value)?;
                Ok(dirty(Node::Branch(children)))
            }
        }
    }

    fn under_prefix(&mut self, prefix: Nibbles, child: Link) -> Link {
        if prefix.is_empty() {
            return child;
        }
        self.make(Node::Extension { key: prefix, child })
    }

    fn remove(&mut self, link: Link, path: Nibbles, rest: Nibbles) -> Result<Link, TrieError> {
        let Some(loaded) = self.load(link, &path)? else {
            return Ok(Link::Empty);
        };
        let Loaded { node, reference } = *loaded;
        match node {
            Node::Leaf { key, .. } if key == rest => {
                self.removed.push(path);
                Ok(Link::Empty)
            }
            Node::Extension { key, child } if rest.starts_with(&key) => {
                let below = path.join(&key);
                let child = self.remove(child, below, rest.slice(key.len()..))?;
                if is_clean(&child) {
                    return Ok(keep(Node::Extension { key, child }, reference));
                }
                self.merge_extension(key, child, below)
            }
            Node::Branch(mut children) => {
                let index = nibble(&rest, 0);
                let child = std::mem::replace(&mut children[index], Link::Empty);
                if matches!(child, Link::Empty) {
                    return Ok(keep(Node::Branch(children), reference));
                }
                let child = self.remove(child, child_path(&path, index), rest.slice(1..))?;
                if is_clean(&child) {
                    children[index] = child;
                    return Ok(keep(Node::Branch(children), reference));
                }
                children[index] = child;
                self.collapse_branch(children, path)
            }
            node => Ok(keep(node, reference)),
        }
    }

    /// An extension whose child changed: the child may have become a leaf or another extension, which takes its place.
    fn merge_extension(&mut self, key: Nibbles, child: Link, child_at: Nibbles) -> Result<Link, TrieError> {
        let Some(loaded) = self.load(child, &child_at)? else {
            return Ok(Link::Empty);
        };
        match loaded.node {
            Node::Leaf { key: tail, value } => {
                self.removed.push(child_at);
                Ok(dirty(Node::Leaf { key: key.join(&tail), value }))
            }
            Node::Extension { key: tail, child } => {
                self.removed.push(child_at);
                Ok(dirty(Node::Extension { key: key.join(&tail), child }))
            }
            Node::Branch(_) => Ok(dirty(Node::Extension { key, child: Link::Loaded(loaded) })),
        }
    }

    /// A branch with one child left is no branch: the child is pulled up.
    fn collapse_branch(&mut self, mut children: Box<[Link; 16]>, path: Nibbles) -> Result<Link, TrieError> {
        let mut present = (0..16).filter(|index| !matches!(children[*index], Link::Empty));
        let (first, second) = (present.next(), present.next());
        match (first, second) {
            (Some(index), None) => {
                let child = std::mem::replace(&mut children[index], Link::Empty);
                let prefix = Nibbles::from_nibbles([index as u8]);
                self.merge_extension(prefix, child, child_path(&path, index))
            }
            (None, _) => Ok(Link::Empty),
            _ => Ok(dirty(Node::Branch(children))),
        }
    }
}

fn hash_link(link: &mut Link, path: Nibbles, changes: &mut NodeChanges, buffer: &mut Vec<u8>) -> Option<RlpNode> {
    let loaded = match link {
        Link::Empty => return None,
        Link::Stored(reference) => return Some(reference.clone()),
        Link::Loaded(loaded) => loaded,
    };
    if let Some(reference) = &loaded.reference {
        return Some(reference.clone());
    }
    let reference = match &mut loaded.node {
        Node::Leaf { key, value } => {
            buffer.clear();
            LeafNodeRef::new(key, value).rlp(buffer)
        }
        Node::Extension { key, child } => {
            let below = path.join(key);
            let child = hash_link(child, below, changes, buffer).expect("INVARIANT: an extension always has a child");
            buffer.clear();
            ExtensionNodeRef::new(key, child.as_slice()).rlp(buffer)
        }
        Node::Branch(children) => {
            let mut stack = Vec::with_capacity(16);
            let mut mask = TrieMask::default();
            for (index, child) in children.iter_mut().enumerate() {
                let below = child_path(&path, index);
                if let Some(reference) = hash_link(child, below, changes, buffer) {
                    stack.push(reference);
                    mask.set_bit(index as u8);
                }
            }
            buffer.clear();
            BranchNodeRef::new(&stack, mask).rlp(buffer)
        }
    };
    if reference.is_hash() {
        changes.written.push((path.to_vec(), buffer.clone()));
    } else {
        // Short nodes live inside their parent; what an earlier, longer node left at this path goes.
        changes.removed.push(path.to_vec());
    }
    loaded.reference = Some(reference.clone());
    Some(reference)
}

fn read_node<S: NodeSource>(source: &S, path: &Nibbles, reference: &RlpNode) -> Result<Vec<u8>, TrieError> {
    let Some(hash) = reference.as_hash() else {
        return Ok(reference.as_slice().to_vec());
    };
    let path = path.to_vec();
    let Some(encoding) = source.node(&path)? else {
        return Err(TrieError::Missing { path });
    };
    if keccak256(&encoding) != hash {
        return Err(TrieError::Mismatch { path });
    }
    Ok(encoding)
}

fn decode(mut encoding: &[u8], path: &Nibbles) -> Result<TrieNode, TrieError> {
    <TrieNode as alloy_rlp::Decodable>::decode(&mut encoding)
        .map_err(|source| TrieError::Malformed { path: path.to_vec(), source })
}

fn root_link(root: B256) -> Link {
    if root == EMPTY_ROOT_HASH { Link::Empty } else { Link::Stored(RlpNode::word_rlp(&root)) }
}

fn dirty(node: Node) -> Link {
    Link::Loaded(Box::new(Loaded { node, reference: None }))
}

fn keep(node: Node, reference: Option<RlpNode>) -> Link {
    Link::Loaded(Box::new(Loaded { node, reference }))
}

fn is_clean(link: &Link) -> bool {
    match link {
        Link::Empty => false,
        Link::Stored(_) => true,
        Link::Loaded(loaded) => loaded.reference.is_some(),
    }
}

fn empty_children() -> Box<[Link; 16]> {
    Box::new([const { Link::Empty }; 16])
}

fn nibble(key: &Nibbles, index: usize) -> usize {
    usize::from(key.get_unchecked(index))
}

fn child_path(path: &Nibbles, index: usize) -> Nibbles {
    let mut path = *path;
    path.push(index as u8);
    path
}
