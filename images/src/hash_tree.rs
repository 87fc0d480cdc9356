//! The BLAKE3 tree of a file, cut off at pieces of one MiB or more: enough to name the bytes that
//! changed, and small enough to keep (32 bytes a piece, 32 MiB for a TiB).
//!
//! The pieces are subtrees of the very tree that BLAKE3 defines, so the root is what `b3sum`
//! prints. A tree lies in a file that carries its root as its name, and is believed only when its
//! pieces give that root again: whoever knows the root from the catalogue needs no other proof.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

const MAGIC: &[u8; 16] = b"lifeboat-tree-1\n";
/// Endings of the files in the folder of the trees.
const TREE: &str = "tree";
const BEGUN: &str = "begun";
const SMALLEST_PIECE: u64 = 1 << 20;
/// Bound on the memory that a tree takes: 32 MiB.
const MOST_PIECES: u64 = 1 << 20;

/// Bytes of one piece of a file of this length: a power of two, so that pieces are whole subtrees.
pub(crate) fn piece_size(length: u64) -> u64 {
    let needed = length.div_ceil(MOST_PIECES).next_power_of_two();
    needed.max(SMALLEST_PIECE)
}

/// Hashes one piece as the subtree that begins at `offset`.
pub(crate) struct PieceHasher {
    hasher: blake3::Hasher,
    alone: bool,
}

impl PieceHasher {
    /// For the piece at `offset` of a file of `length` bytes.
    pub(crate) fn new(offset: u64, length: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        Self {
            hasher,
            alone: length <= piece_size(length),
        }
    }

    /// More bytes, hashed by all cores.
    pub(crate) fn update_on_all_cores(&mut self, bytes: &[u8]) {
        self.hasher.update_rayon(bytes);
    }

    /// More bytes, hashed by this thread.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The only piece of a file is its root.
    pub(crate) fn finish(&self) -> ChainingValue {
        if self.alone {
            return *self.hasher.finalize().as_bytes();
        }
        self.hasher.finalize_non_root()
    }
}

/// The pieces of a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashTree {
    length: u64,
    pieces: Vec<ChainingValue>,
}

impl HashTree {
    /// Of all pieces of a file of `length` bytes; `None` when they are not as many as it has.
    pub(crate) fn new(length: u64, pieces: Vec<ChainingValue>) -> Option<Self> {
        let expected = length.div_ceil(piece_size(length));
        let is_whole = length > 0 && pieces.len() as u64 == expected;
        is_whole.then_some(Self { length, pieces })
    }

    /// Which bytes a piece covers: its first, and how many.
    pub(crate) fn range(&self, index: u64) -> (u64, u64) {
        let size = piece_size(self.length);
        let start = index * size;
        (start, size.min(self.length - start))
    }

    /// The piece of that number.
    pub(crate) fn piece(&self, index: u64) -> Option<&ChainingValue> {
        self.pieces.get(usize::try_from(index).ok()?)
    }

    /// BLAKE3 of the file, in hexadecimal digits.
    pub(crate) fn root(&self) -> String {
        let bytes = match &self.pieces[..] {
            [alone] => *alone,
            pieces => {
                let (left, right) = pieces.split_at(left_pieces(pieces.len()));
                *merge_subtrees_root(&joined(left), &joined(right), Mode::Hash).as_bytes()
            }
        };
        blake3::Hash::from(bytes).to_hex().to_string()
    }

    /// Keeps the tree in `folder`, which is made if needed. It appears whole or not at all.
    pub(crate) fn save(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let place = place(folder, &self.root());
        let unfinished = place.with_extension(format!("{}.part", std::process::id()));
        let written = self.write(&unfinished);
        let renamed = written.and_then(|()| std::fs::rename(&unfinished, &place));
        if renamed.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&unfinished);
        }
        renamed
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = io::BufWriter::new(File::create(path)?);
        file.write_all(MAGIC)?;
        file.write_all(&self.length.to_le_bytes())?;
        file.write_all(self.pieces.as_flattened())?;
        file.into_inner()?.sync_all()
    }

    /// The tree with this root, if `folder` has it undamaged.
    pub(crate) fn load(folder: &Path, root: &str, length: u64) -> Option<Self> {
        if !is_root(root) || length == 0 {
            return None;
        }
        let pieces = length.div_ceil(piece_size(length));
        let expected = MAGIC.len() as u64 + 8 + pieces * 32;
        let mut bytes = Vec::new();
        let file = File::open(place(folder, root)).ok()?;
        file.take(expected + 1).read_to_end(&mut bytes).ok()?;
        let body = bytes
            .strip_prefix(MAGIC)?
            .strip_prefix(&length.to_le_bytes())?;
        let (pieces, rest) = body.as_chunks::<32>();
        let tree = Self::new(length, pieces.to_vec()).filter(|_| rest.is_empty())?;
        (tree.root() == root).then_some(tree)
    }
}

fn place(folder: &Path, root: &str) -> PathBuf {
    folder.join(root).with_extension(TREE)
}

/// The first pieces of a file whose reading was stopped and that has no tree. Nothing proves them
/// until the last one is there, so all that speaks for them is a checksum of their own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Ascending, without a gap.
    pub pieces: Vec<ChainingValue>,
}

impl Begun {
    /// Keeps them for the file that is meant to have this root; says whether that could be done.
    pub(crate) fn save(&self, folder: &Path, root: &str) -> bool {
        let bytes = self.pieces.as_flattened();
        let sum = blake3::hash(bytes);
        let whole = [sum.as_bytes(), bytes].concat();
        let written = is_root(root)
            && std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(begun(folder, root), whole))
                .is_ok();
        if !written {
            Self::forget(folder, root);
        }
        written
    }

    /// What was kept of a file of `length` bytes; nothing if it is damaged.
    pub(crate) fn load(folder: &Path, root: &str, length: u64) -> Self {
        Self::read(folder, root, length).unwrap_or_default()
    }

    fn read(folder: &Path, root: &str, length: u64) -> Option<Self> {
        let most = length.div_ceil(piece_size(length)) * 32;
        let file = File::open(begun(folder, root))
            .ok()
            .filter(|_| is_root(root))?;
        let mut bytes = Vec::new();
        file.take(most + 33).read_to_end(&mut bytes).ok()?;
        let (sum, pieces) = bytes.split_first_chunk::<32>()?;
        let (whole, rest) = pieces.as_chunks::<32>();
        let is_right = rest.is_empty() && pieces.len() as u64 <= most;
        let pieces = (is_right && blake3::hash(pieces) == *sum).then(|| whole.to_vec());
        pieces.map(|pieces| Self { pieces })
    }

    /// Forgets what was kept.
    pub(crate) fn forget(folder: &Path, root: &str) {
        if is_root(root) {
            // Mostly there is nothing.
            let _ = std::fs::remove_file(begun(folder, root));
        }
    }
}

fn begun(folder: &Path, root: &str) -> PathBuf {
    folder.join(root).with_extension(BEGUN)
}

/// Which file, by its root, a file in the folder of the trees is about.
pub fn root_of_tree(name: &str) -> Option<&str> {
    let (root, ending) = name.split_once('.')?;
    (ending == TREE || ending == BEGUN).then_some(root)
}

/// A root becomes a file name, so it is nothing but its digits.
fn is_root(root: &str) -> bool {
    root.len() == 64 && root.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// BLAKE3 puts the largest power of two that leaves something for the right side to the left.
fn left_pieces(count: usize) -> usize {
    (count.div_ceil(2)).next_power_of_two()
}

/// The pieces of one side as one subtree. As deep as the tree is, so at most 20.
fn joined(pieces: &[ChainingValue]) -> ChainingValue {
    match pieces {
        [] => ChainingValue::default(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(left_pieces(many.len()));
            merge_subtrees_non_root(&joined(left), &joined(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree_of(bytes: &[u8]) -> HashTree {
        let length = bytes.len() as u64;
        let size = piece_size(length);
        let piece = |(index, piece): (usize, &[u8])| {
            let mut hasher = PieceHasher::new(index as u64 * size, length);
            let (front, back) = piece.split_at(piece.len() / 3);
            hasher.update(front);
            hasher.update_on_all_cores(back);
            hasher.finish()
        };
        let pieces = bytes.chunks(size as usize).enumerate().map(piece).collect();
        HashTree::new(length, pieces).unwrap()
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n / 7 % 251) as u8).collect()
    }

    #[test]
    fn the_root_is_blake3_of_the_file() {
        const MIB: usize = 1 << 20;
        let lengths = [
            1,
            1023,
            1024,
            1025,
            MIB - 1,
            MIB,
            MIB + 1,
            2 * MIB,
            2 * MIB + 1,
        ];
        for length in lengths
            .into_iter()
            .chain([3, 5, 6, 7, 9].map(|n| n * MIB - 5))
        {
            let bytes = bytes(length);
            let expected = blake3::hash(&bytes).to_hex().to_string();
            assert_eq!(tree_of(&bytes).root(), expected, "{length}");
        }
    }

    #[test]
    fn large_files_have_large_pieces() {
        for length in [1, 1 << 20, 1 << 40, (1 << 40) + 1, 64 << 40, u64::MAX >> 1] {
            let size = piece_size(length);
            assert!(size.is_power_of_two() && length.div_ceil(size) <= MOST_PIECES);
        }
        assert_eq!(piece_size(1 << 40), 1 << 20);
        assert_eq!(piece_size((1 << 40) + 1), 2 << 20);
    }

    #[test]
    fn a_tree_is_believed_only_whole() {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree_of(&bytes(5_000_000));
        tree.save(folder.path()).unwrap();
        let load = || HashTree::load(folder.path(), &tree.root(), 5_000_000);
        assert_eq!(load().as_ref(), Some(&tree));
        assert_eq!(HashTree::load(folder.path(), &tree.root(), 5_000_001), None);
        assert_eq!(HashTree::load(folder.path(), "../../etc/passwd", 1), None);
        let file = place(folder.path(), &tree.root());
        let whole = std::fs::read(&file).unwrap();
        for cut in [0, 10, whole.len() - 1] {
            std::fs::write(&file, &whole[..cut]).unwrap();
            assert_eq!(load(), None, "{cut}");
        }
        for place in [0, 20, 24, whole.len() - 1] {
            let mut other = whole.clone();
            other[place] ^= 1;
            std::fs::write(&file, &other).unwrap();
            assert_eq!(load(), None, "{place}");
        }
        std::fs::write(&file, [&whole[..], b"x"].concat()).unwrap();
        assert_eq!(load(), None);
        std::fs::write(&file, &whole).unwrap();
        assert_eq!(load(), Some(tree));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_begun_is_believed_only_whole() {
        let folder = tempfile::tempdir().unwrap();
        let length = 5_000_000;
        let tree = tree_of(&bytes(length as usize));
        let root = tree.root();
        let first = Begun {
            pieces: tree.pieces[..3].to_vec(),
        };
        let load = |length| Begun::load(folder.path(), &root, length);
        assert_eq!(load(length), Begun::default());
        assert!(first.save(folder.path(), &root));
        assert_eq!(load(length), first);
        assert_eq!(load(2 << 20), Begun::default());
        assert!(!first.save(folder.path(), "../x"));
        assert!(!first.save(Path::new("/dev/null/x"), &root));
        let whole = std::fs::read(begun(folder.path(), &root)).unwrap();
        for place in [0, 40, whole.len() - 1] {
            let mut other = whole.clone();
            other[place] ^= 1;
            std::fs::write(begun(folder.path(), &root), other).unwrap();
            assert_eq!(load(length), Begun::default(), "{place}");
        }
        Begun::forget(folder.path(), &root);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_files_of_a_tree_are_told_from_others() {
        for name in ["aa.tree", "aa.begun"] {
            assert_eq!(root_of_tree(name), Some("aa"));
        }
        for name in ["aa.7.part", "aa", "aa.tree.x", ""] {
            assert_eq!(root_of_tree(name), None, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
        #[test]
        fn any_tree_of_pieces_joins_as_blake3_does(length in 1_usize..9_000_000) {
            let bytes = bytes(length);
            prop_assert_eq!(tree_of(&bytes).root(), blake3::hash(&bytes).to_hex().to_string());
        }

        #[test]
        fn no_file_makes_a_tree_without_its_root(file in prop::collection::vec(any::<u8>(), 0..200)) {
            let folder = tempfile::tempdir().unwrap();
            let root = blake3::hash(b"another").to_hex().to_string();
            std::fs::write(place(folder.path(), &root), file).unwrap();
            prop_assert_eq!(HashTree::load(folder.path(), &root, 77), None);
        }
    }
}
