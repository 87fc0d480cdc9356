//! The supplement: what an initramfs lacks, as bytes to append to it.

use std::collections::BTreeMap;

use super::cpio::Writer;
use super::lz4_legacy;
use super::modules::{IndexTexts, ModuleTree, is_module, merged_index, module_name};
use super::scan::{Compressor, InitrdContents};
use super::target::{essential, wanted};
use crate::refusal::Refusal;
use crate::report::{Generator, Target};

/// Marks what Lifeboat added to a text file.
pub const MARKER: &str = "# added by Lifeboat";

/// What the supplement of one initramfs will hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SupplementPlan {
    /// Modules to copy: path under the guest's module directory, path in the initramfs.
    pub modules: Vec<(String, String)>,
    /// Small files, by their path in the initramfs.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What a plan is made from.
pub struct SupplementInput<'a> {
    /// The kernel's release.
    pub version: &'a str,
    /// The initramfs as it is.
    pub contents: &'a InitrdContents,
    /// The kernel's module indexes.
    pub kernel: &'a IndexTexts,
    /// `.link` files, by name.
    pub links: &'a BTreeMap<String, String>,
    /// The hardware to boot on.
    pub target: Target,
}

/// Which tool built this initramfs.
pub fn generator(contents: &InitrdContents) -> Generator {
    let any = |paths: &[&str]| paths.iter().any(|path| contents.exists(path));
    if contents.exists("conf/initramfs.conf") && contents.exists("scripts/functions") {
        Generator::InitramfsTools
    } else if contents.exists("config") && any(&["init_functions", "buildconfig", "hooks"]) {
        Generator::Mkinitcpio
    } else if contents.exists("run_all.sh") && contents.exists("boot") {
        Generator::Mkinitrd
    } else if any(&[
        "usr/lib/dracut",
        "lib/dracut",
        "usr/lib/initrd-release",
        "etc/initrd-release",
    ]) {
        Generator::Dracut
    } else {
        Generator::Unknown
    }
}

/// The modules in the initramfs, by name, relative to the module directory.
pub fn present_modules(contents: &InitrdContents, version: &str) -> BTreeMap<String, String> {
    let directory = module_directory(contents, version) + "/";
    contents
        .kinds
        .range(directory.clone()..)
        .map_while(|(path, _)| path.strip_prefix(&directory))
        .filter(|path| is_module(path))
        .map(|path| (module_name(path), path.to_owned()))
        .collect()
}

/// The wanted modules, and those they need, that the initramfs lacks.
pub fn missing_modules(
    tree: &ModuleTree,
    contents: &InitrdContents,
    version: &str,
    target: Target,
) -> Vec<String> {
    let present = present_modules(contents, version);
    let mut missing = tree.closure(&wanted(target));
    missing.retain(|name| !present.contains_key(name));
    missing
}

/// Decides what the initramfs lacks. An empty plan means that nothing is to do.
pub fn plan(input: &SupplementInput) -> Result<SupplementPlan, Refusal> {
    let tree = ModuleTree::parse(input.kernel);
    if let Some(module) = essential(input.target)
        .into_iter()
        .find(|name| !tree.offers(name))
    {
        let version = input.version.to_owned();
        return Err(Refusal::NoVirtio {
            version,
            module: module.to_owned(),
            fallback: None,
        });
    }
    let directory = module_directory(input.contents, input.version);
    let missing = missing_modules(&tree, input.contents, input.version, input.target);
    let mut plan = SupplementPlan::default();
    let mut present = present_modules(input.contents, input.version);
    for name in &missing {
        let path = &tree.modules[name].path;
        plan.modules
            .push((path.clone(), format!("{directory}/{path}")));
        present.insert(name.clone(), path.clone());
    }
    if !missing.is_empty() {
        let before = texts_in(input.contents, &directory);
        for (name, content) in merged_index(input.kernel, &before, &present) {
            plan.files.insert(format!("{directory}/{name}"), content);
        }
    }
    let loadable: Vec<&str> = wanted(input.target)
        .into_iter()
        .filter(|name| tree.modules.contains_key(*name))
        .collect();
    add_load_lists(input.contents, &loadable, &mut plan);
    for (name, content) in input.links {
        let path = input
            .contents
            .resolve(&format!("etc/systemd/network/{name}"));
        plan.files.insert(path, content.clone().into_bytes());
    }
    plan.files
        .retain(|path, content| input.contents.file(path) != Some(content.as_slice()));
    Ok(plan)
}

/// Tells the initramfs to load the modules even where nothing asks for them.
fn add_load_lists(contents: &InitrdContents, names: &[&str], plan: &mut SupplementPlan) {
    if names.is_empty() {
        return;
    }
    match generator(contents) {
        Generator::InitramfsTools => {
            let before = contents.file("conf/modules").unwrap_or_default();
            let before = String::from_utf8_lossy(before).into_owned();
            let after = with_lines(&before, names);
            plan.files
                .insert(contents.resolve("conf/modules"), after.into_bytes());
        }
        Generator::Dracut => {
            let arguments: String = names
                .iter()
                .map(|name| format!("rd.driver.pre={name} "))
                .collect();
            let path = contents.resolve("etc/cmdline.d/99-lifeboat.conf");
            plan.files
                .insert(path, format!("{}\n", arguments.trim_end()).into_bytes());
            let path = contents.resolve("etc/modules-load.d/lifeboat.conf");
            plan.files
                .insert(path, format!("{}\n", names.join("\n")).into_bytes());
        }
        Generator::Mkinitcpio => {
            let path = contents.resolve("config");
            let before = contents.file("config").unwrap_or_default();
            let text = with_assigned(&String::from_utf8_lossy(before), "MODULES", names);
            plan.files.insert(path, text.into_bytes());
            // With the systemd hook nothing reads `config`.
            let path = contents.resolve("etc/modules-load.d/lifeboat.conf");
            plan.files
                .insert(path, format!("{}\n", names.join("\n")).into_bytes());
        }
        // Its udev loads what fits the hardware, by the index.
        Generator::Mkinitrd | Generator::Unknown => {}
    }
}

/// The text with every line present, the missing ones behind a marker.
pub fn with_lines(text: &str, lines: &[&str]) -> String {
    let missing: Vec<&&str> = lines
        .iter()
        .filter(|line| !text.lines().any(|known| known.trim() == **line))
        .collect();
    if missing.is_empty() {
        return text.to_owned();
    }
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    if !text.lines().any(|line| line == MARKER) {
        text.push_str(MARKER);
        text.push('\n');
    }
    for line in missing {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The text with every word in the quoted list or the array that a shell
/// variable holds; a variable that is not assigned is, at the end.
pub fn with_assigned(text: &str, variable: &str, words: &[&str]) -> String {
    let assignment = |line: &str| -> Option<(usize, usize)> {
        let rest = line.strip_prefix(variable)?.strip_prefix('=')?;
        let open = rest.chars().next().filter(|open| "\"'(".contains(*open))?;
        let close = if open == '(' { ')' } else { open };
        let start = line.len() - rest.len() + 1;
        Some((start, start + line[start..].find(close)?))
    };
    let mut edited = String::new();
    let mut found = false;
    for line in text.split_inclusive('\n') {
        let Some((start, end)) = assignment(line) else {
            edited.push_str(line);
            continue;
        };
        found = true;
        let known: Vec<&str> = line[start..end].split_whitespace().collect();
        let missing = words.iter().filter(|word| !known.contains(word));
        let mut list = line[start..end].trim_end().to_owned();
        for word in missing {
            if !list.is_empty() {
                list.push(' ');
            }
            list.push_str(word);
        }
        edited.push_str(&line[..start]);
        edited.push_str(&list);
        edited.push_str(&line[end..]);
    }
    if !found {
        if !edited.is_empty() && !edited.ends_with('\n') {
            edited.push('\n');
        }
        edited.push_str(&format!("{variable}=\"{}\"\n", words.join(" ")));
    }
    edited
}

fn module_directory(contents: &InitrdContents, version: &str) -> String {
    let real = contents.resolve(&format!("lib/modules/{version}/x"));
    real.trim_end_matches("/x").to_owned()
}

fn texts_in(contents: &InitrdContents, directory: &str) -> IndexTexts {
    let text = |name: &str| {
        let content = contents
            .file(&format!("{directory}/{name}"))
            .unwrap_or_default();
        String::from_utf8_lossy(content).into_owned()
    };
    IndexTexts {
        dep: text("modules.dep"),
        alias: text("modules.alias"),
        symbols: text("modules.symbols"),
        softdep: text("modules.softdep"),
        devname: text("modules.devname"),
        builtin: text("modules.builtin"),
    }
}

/// The archive of a plan. `modules` holds the content of each of its modules,
/// by their path in the initramfs.
pub fn archive(
    plan: &SupplementPlan,
    modules: &BTreeMap<String, Vec<u8>>,
    contents: &InitrdContents,
) -> Vec<u8> {
    let files: BTreeMap<&str, &[u8]> = plan
        .files
        .iter()
        .chain(modules)
        .map(|(path, content)| (path.as_str(), content.as_slice()))
        .collect();
    let mut writer = Writer::new();
    let mut made = std::collections::BTreeSet::new();
    for (path, content) in files {
        // The kernel makes no missing parents: directories come before files.
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            if !contents.kinds.contains_key(parent) && made.insert(parent.to_owned()) {
                writer.directory(parent);
            }
        }
        writer.file(path, 0o644, content);
    }
    writer.finish()
}

/// The bytes to write at the end of an initramfs of `size` bytes.
///
/// Uncompressed is legal after every compressor but LZ4: kernels before 5.13
/// take anything after an LZ4 stream, zero bytes included, for one more block,
/// and accept only another LZ4 stream there.
pub fn bytes_to_append(archive: &[u8], compressor: Option<Compressor>, size: u64) -> Vec<u8> {
    if compressor == Some(Compressor::Lz4) {
        return lz4_legacy::encode(archive);
    }
    let mut bytes = vec![0; (size.next_multiple_of(4) - size) as usize];
    bytes.extend_from_slice(archive);
    bytes
}
