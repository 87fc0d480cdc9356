//! Driver images: ISO 9660 and UDF, read by a library in a process of its own; and the catalogue
//! file that they are added to.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use isomage::TreeNode;

use super::collect::{Files, collect};
use super::{Catalogue, CatalogueError, contents, damaged, doing};

const MOST_FILES: usize = 200_000;
const DEEPEST: usize = 24;

/// The files of an image.
struct Image {
    file: File,
    files: Vec<(String, u64, u64)>,
}

impl Image {
    fn open(mut file: File, name: &str) -> Result<Self, CatalogueError> {
        let attempted = || doing(format!("reading {name} as a disc image (ISO 9660 or UDF)"));
        let tree = isomage::detect_and_parse_filesystem(&mut file, name)
            .map_err(|error| attempted()(io::Error::other(error.to_string())))?;
        let mut files = Vec::new();
        flatten(&tree, "", 0, &mut files);
        Ok(Self { file, files })
    }
}

fn flatten(node: &TreeNode, folder: &str, depth: usize, files: &mut Vec<(String, u64, u64)>) {
    for child in &node.children {
        let path = format!("{folder}{}", child.name);
        if child.is_directory && depth < DEEPEST {
            flatten(child, &format!("{path}/"), depth + 1, files);
        } else if let (Some(place), Some(length)) = (child.file_location, child.file_length)
            && files.len() < MOST_FILES
        {
            files.push((path, place, length));
        }
    }
}

impl Files for Image {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let files = self.files.iter();
        Ok(files
            .map(|(path, _, length)| (path.clone(), *length))
            .collect())
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let mut files = self.files.iter();
        let found = files.find(|(other, ..)| other == path);
        let (_, place, length) = found.ok_or(io::ErrorKind::NotFound)?;
        self.file.seek(SeekFrom::Start(*place))?;
        let mut content = Vec::new();
        (&mut self.file).take(*length).read_to_end(&mut content)?;
        Ok(content)
    }
}

/// Reads the drivers out of an image and writes them as a catalogue. The image is hostile: this
/// belongs into a confined process. The answer holds warnings.
pub fn extract(
    image: File,
    name: &str,
    only: &[String],
    out: impl Write,
) -> Result<Vec<String>, CatalogueError> {
    let mut image = Image::open(image, name)?;
    let collected = collect(&mut image, name, only)?;
    let mut content = |hash: &str| image.read(&collected.places[hash]);
    collected.catalogue.write(out, &mut content)?;
    Ok(collected.warnings)
}

/// Adds what an image held to the catalogue file, which is replaced in one step.
pub fn add(catalogue: &Path, new: &mut (impl Read + Seek)) -> Result<Catalogue, CatalogueError> {
    let reading = || doing("reading what the image held");
    let added = Catalogue::read(&mut *new)?;
    if added.packages.is_empty() {
        return Err(damaged("the image gave no drivers"));
    }
    new.seek(SeekFrom::Start(0)).map_err(reading())?;
    let mut files = contents(new, &added.hashes())?;
    let mut all = read(catalogue)?;
    let old = all
        .hashes()
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    all.take(added.packages);
    let kept = all.hashes();
    let kept = old
        .iter()
        .map(String::as_str)
        .filter(|hash| kept.contains(hash));
    let kept = kept.filter(|hash| !files.contains_key(*hash)).collect();
    if catalogue.is_file() {
        let file =
            File::open(catalogue).map_err(doing(format!("opening {}", catalogue.display())))?;
        files.extend(contents(BufReader::new(file), &kept)?);
    }
    write(catalogue, &all, &files)?;
    Ok(all)
}

/// The catalogue file; an absent one is empty.
pub fn read(catalogue: &Path) -> Result<Catalogue, CatalogueError> {
    match File::open(catalogue) {
        Ok(file) => Catalogue::read(BufReader::new(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Catalogue::default()),
        Err(error) => Err(doing(format!("opening {}", catalogue.display()))(error)),
    }
}

fn write(
    path: &Path,
    all: &Catalogue,
    files: &std::collections::BTreeMap<String, Vec<u8>>,
) -> Result<(), CatalogueError> {
    let writing = || doing(format!("writing {}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(writing())?;
    }
    let part = path.with_extension("part");
    let file = File::create(&part).map_err(writing())?;
    let mut content = |hash: &str| {
        files
            .get(hash)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    all.write(&file, &mut content)?;
    file.sync_all().map_err(writing())?;
    fs::rename(&part, path).map_err(writing())
}
