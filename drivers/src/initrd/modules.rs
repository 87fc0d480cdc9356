//! The guest kernel's module tree, and the index of a merged one.

use std::collections::{BTreeMap, BTreeSet};

use super::kmod_index::IndexBuilder;

/// The text indexes that depmod wrote into one module directory.
#[derive(Debug, Default, Clone)]
pub struct IndexTexts {
    /// `modules.dep`.
    pub dep: String,
    /// `modules.alias`.
    pub alias: String,
    /// `modules.symbols`.
    pub symbols: String,
    /// `modules.softdep`.
    pub softdep: String,
    /// `modules.devname`.
    pub devname: String,
    /// `modules.builtin`.
    pub builtin: String,
}

impl IndexTexts {
    /// How many bytes of memory the texts take.
    pub(crate) fn size(&self) -> usize {
        let texts = [
            &self.dep,
            &self.alias,
            &self.symbols,
            &self.softdep,
            &self.devname,
            &self.builtin,
        ];
        texts.iter().map(|text| text.len()).sum()
    }
}

/// One module: where it is, in which order depmod saw it, what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Path relative to the module directory.
    pub path: String,
    /// Its line in `modules.dep`, which libkmod uses as priority.
    pub order: u32,
    /// Names of all modules it needs, nearest first.
    pub needs: Vec<String>,
}

/// The modules of one kernel by their canonical names.
#[derive(Debug, Default, Clone)]
pub struct ModuleTree {
    /// Loadable modules.
    pub modules: BTreeMap<String, Module>,
    /// Modules built into the kernel.
    pub builtin: BTreeSet<String>,
}

impl ModuleTree {
    /// Reads `modules.dep` and `modules.builtin`.
    pub fn parse(texts: &IndexTexts) -> Self {
        let modules = texts
            .dep
            .lines()
            .zip(0u32..)
            .filter_map(|(line, order)| {
                let (path, needs) = line.split_once(':')?;
                let path = relative(path)?;
                let needs = needs.split_whitespace().map(module_name).collect();
                Some((
                    module_name(path),
                    Module {
                        path: path.to_owned(),
                        order,
                        needs,
                    },
                ))
            })
            .collect();
        let builtin = texts.builtin.lines().map(module_name).collect();
        Self { modules, builtin }
    }

    /// Whether the kernel can use this module in any way.
    pub fn offers(&self, name: &str) -> bool {
        self.builtin.contains(name) || self.modules.contains_key(name)
    }

    /// The wanted modules that exist, with all they need, dependencies first.
    pub fn closure(&self, wanted: &[&str]) -> Vec<String> {
        let mut chosen = Vec::new();
        for name in wanted {
            let Some(module) = self.modules.get(*name) else {
                continue;
            };
            let needs = module.needs.iter().rev().map(String::as_str);
            for name in needs.chain([*name]) {
                if self.modules.contains_key(name) && !chosen.iter().any(|known| known == name) {
                    chosen.push(name.to_owned());
                }
            }
        }
        chosen
    }
}

/// A path inside the module directory; old indexes count it from the root.
fn relative(path: &str) -> Option<&str> {
    let path = path.trim();
    let path = match path.strip_prefix("/lib/modules/") {
        Some(rest) => rest.split_once('/')?.1,
        None => path,
    };
    let leads_out = path.starts_with('/') || path.split('/').any(|part| part == "..");
    (!leads_out).then_some(path)
}

/// `kernel/drivers/block/virtio-blk.ko.xz` is `virtio_blk`.
pub fn module_name(path: &str) -> String {
    let file = path.trim().rsplit('/').next().unwrap_or_default();
    let stem = file.split(".ko").next().unwrap_or(file);
    stem.replace('-', "_")
}

/// Whether the path names a kernel module.
pub fn is_module(path: &str) -> bool {
    [".ko", ".ko.xz", ".ko.gz", ".ko.zst"]
        .iter()
        .any(|ending| path.ends_with(ending))
}

/// The index files of a tree that holds `present` (name to relative path).
///
/// Facts come from the kernel's own index where it knows the module, else from
/// the index that was in the initramfs before. The kernel's index cannot be
/// copied whole: initramfs-tools may store modules decompressed, under other names.
pub fn merged_index(
    kernel: &IndexTexts,
    before: &IndexTexts,
    present: &BTreeMap<String, String>,
) -> BTreeMap<&'static str, Vec<u8>> {
    let sources = Sources::new(kernel, before, present);
    let mut files = BTreeMap::new();
    let (text, binary) = sources.dependencies();
    files.insert("modules.dep", text);
    files.insert("modules.dep.bin", binary);
    let (text, binary) = sources.aliases(|texts| &texts.alias);
    files.insert("modules.alias", text);
    files.insert("modules.alias.bin", binary);
    let (text, binary) = sources.aliases(|texts| &texts.symbols);
    files.insert("modules.symbols", text);
    files.insert("modules.symbols.bin", binary);
    files.insert("modules.softdep", sources.lines(|texts| &texts.softdep, 1));
    files.insert("modules.devname", sources.lines(|texts| &texts.devname, 0));
    files
}

struct Sources<'a> {
    texts: [(&'a IndexTexts, BTreeSet<String>); 2],
    modules: BTreeMap<String, Module>,
    present: &'a BTreeMap<String, String>,
}

impl<'a> Sources<'a> {
    fn new(
        kernel: &'a IndexTexts,
        before: &'a IndexTexts,
        present: &'a BTreeMap<String, String>,
    ) -> Self {
        let mut modules = ModuleTree::parse(kernel).modules;
        modules.retain(|name, _| present.contains_key(name));
        let known: BTreeSet<String> = modules.keys().cloned().collect();
        let mut others = BTreeSet::new();
        for (name, mut module) in ModuleTree::parse(before).modules {
            if present.contains_key(&name) && !known.contains(&name) {
                module.order = module.order.saturating_add(1 << 20);
                others.insert(name.clone());
                modules.insert(name, module);
            }
        }
        Self {
            texts: [(kernel, known), (before, others)],
            modules,
            present,
        }
    }

    fn dependencies(&self) -> (Vec<u8>, Vec<u8>) {
        let mut index = IndexBuilder::new();
        let mut lines = Vec::new();
        for (name, module) in &self.modules {
            let mut line = format!("{}:", self.present[name]);
            for path in module
                .needs
                .iter()
                .filter_map(|need| self.present.get(need))
            {
                line.push(' ');
                line.push_str(path);
            }
            index.insert(name, &line, module.order);
            lines.push((module.order, line));
        }
        lines.sort();
        let text: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
        (text.into_bytes(), index.build())
    }

    fn aliases(&self, choose: fn(&IndexTexts) -> &String) -> (Vec<u8>, Vec<u8>) {
        let mut index = IndexBuilder::new();
        let mut text = String::new();
        for (texts, names) in &self.texts {
            for line in choose(texts).lines() {
                let Some((pattern, name)) = parse_alias(line) else {
                    continue;
                };
                if !names.contains(name) {
                    continue;
                }
                let order = self.modules.get(name).map_or(0, |module| module.order);
                index.insert(&normalised(pattern), name, order);
                text.push_str(line);
                text.push('\n');
            }
        }
        (text.into_bytes(), index.build())
    }

    fn lines(&self, choose: fn(&IndexTexts) -> &String, field: usize) -> Vec<u8> {
        let mut text = String::new();
        for (texts, names) in &self.texts {
            for line in choose(texts).lines() {
                let name = line.split_whitespace().nth(field).unwrap_or_default();
                if names.contains(&name.replace('-', "_")) {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text.into_bytes()
    }
}

fn parse_alias(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("alias ")?
        .trim()
        .rsplit_once(char::is_whitespace)
}

/// `-` and `_` are the same to libkmod, except inside a bracket expression.
fn normalised(pattern: &str) -> String {
    let mut inside = false;
    pattern
        .chars()
        .map(|letter| {
            inside = (inside || letter == '[') && letter != ']';
            if letter == '-' && !inside {
                '_'
            } else {
                letter
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::kmod_index::lookup;
    use super::*;

    fn texts() -> IndexTexts {
        IndexTexts {
            dep: "kernel/a/virtio.ko.xz: kernel/a/virtio_ring.ko.xz\n\
                  kernel/a/virtio_ring.ko.xz:\n\
                  kernel/n/virtio_net.ko.xz: kernel/n/net_failover.ko.xz kernel/n/failover.ko.xz kernel/a/virtio.ko.xz kernel/a/virtio_ring.ko.xz\n\
                  kernel/n/net_failover.ko.xz: kernel/n/failover.ko.xz\n\
                  kernel/n/failover.ko.xz:\n"
                .into(),
            alias: "# comment\nalias virtio:d00000001v* virtio_net\nalias pci:[a-b]-c virtio\n".into(),
            symbols: "alias symbol:register_virtio_driver virtio\n".into(),
            softdep: "softdep virtio_net pre: failover\n".into(),
            devname: String::new(),
            builtin: "kernel/drivers/scsi/sd-mod.ko\n".into(),
        }
    }

    #[test]
    fn closure_comes_dependencies_first() {
        let tree = ModuleTree::parse(&texts());
        assert_eq!(
            tree.closure(&["virtio_net", "sd_mod", "absent"]),
            [
                "virtio_ring",
                "virtio",
                "failover",
                "net_failover",
                "virtio_net"
            ]
        );
        assert!(tree.offers("sd_mod"));
        assert!(!tree.offers("absent"));
    }

    #[test]
    fn merged_index_uses_the_names_of_the_initramfs() {
        let present: BTreeMap<String, String> = [
            ("virtio", "kernel/a/virtio.ko"),
            ("virtio_ring", "kernel/a/virtio_ring.ko"),
            ("odd", "extra/odd.ko"),
        ]
        .map(|(name, path)| (name.to_owned(), path.to_owned()))
        .into();
        let before = IndexTexts {
            dep: "extra/odd.ko: kernel/a/virtio.ko\n".into(),
            alias: "alias odd-alias odd\n".into(),
            ..IndexTexts::default()
        };
        let files = merged_index(&texts(), &before, &present);
        assert_eq!(
            String::from_utf8(files["modules.dep"].clone()).unwrap(),
            "kernel/a/virtio.ko: kernel/a/virtio_ring.ko\nkernel/a/virtio_ring.ko:\n\
             extra/odd.ko: kernel/a/virtio.ko\n"
        );
        assert_eq!(
            lookup(&files["modules.alias.bin"], "pci:[a-b]_c").unwrap(),
            ["virtio"]
        );
        assert_eq!(
            lookup(&files["modules.alias.bin"], "odd_alias").unwrap(),
            ["odd"]
        );
        assert!(
            lookup(&files["modules.alias.bin"], "virtio:d00000001v*")
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            lookup(
                &files["modules.symbols.bin"],
                "symbol:register_virtio_driver"
            )
            .unwrap(),
            ["virtio"]
        );
    }

    #[test]
    fn old_indexes_count_from_the_root() {
        let tree = ModuleTree::parse(&IndexTexts {
            dep: "/lib/modules/2.6.32/kernel/a/virtio.ko: /lib/modules/2.6.32/kernel/a/virtio_ring.ko\n\
                  /etc/shadow:\n../../etc/passwd:\nkernel/../../x.ko:\n"
                .into(),
            ..IndexTexts::default()
        });
        assert_eq!(tree.modules.len(), 1);
        assert_eq!(tree.modules["virtio"].path, "kernel/a/virtio.ko");
        assert_eq!(tree.modules["virtio"].needs, ["virtio_ring"]);
    }

    #[test]
    fn names_are_canonical() {
        for (path, name) in [
            ("kernel/drivers/block/virtio-blk.ko.xz", "virtio_blk"),
            ("a.ko", "a"),
            ("sd_mod", "sd_mod"),
            ("", ""),
        ] {
            assert_eq!(module_name(path), name);
        }
    }
}
