//! What each initramfs of a guest is given.

use std::collections::{BTreeMap, BTreeSet};

use super::arguments::root_argument;
use super::identity::{DeviceMap, is_volatile};
use super::kernels::{Form, KernelImage};
use super::plan::{Edit, Plan};
use super::root::Root;
use super::volumes::Storage;
use crate::initrd::modules::ModuleTree;
use crate::initrd::supplement::{
    SupplementInput, SupplementPlan, archive, bytes_to_append, missing_modules,
    plan as plan_supplement, present_modules,
};
use crate::initrd::target::{Drivers, fallback};
use crate::refusal::Refusal;
use crate::report::InjectRequest;

/// Largest kernel module that is copied.
const LARGEST_MODULE: u64 = 32 << 20;

/// Plans the supplement of every initramfs; what cannot be extended must hold
/// what it needs already.
pub(super) fn plan(
    root: &Root,
    kernels: &[KernelImage],
    request: &InjectRequest,
    links: &BTreeMap<String, String>,
    map: &DeviceMap,
    storage: &Storage,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let supplements = Supplements {
        root,
        request,
        links,
        map,
        storage,
    };
    for kernel in kernels {
        let edit = if kernel.can_be_extended() {
            supplements.append(kernel)
        } else {
            supplements.check_fixed(kernel, plan).map(|()| None)
        };
        plan.edits
            .extend(edit.map_err(|refusal| with_fallback(refusal, kernels))?);
        plan.check_size()?;
    }
    Ok(())
}

struct Supplements<'a> {
    root: &'a Root,
    request: &'a InjectRequest,
    links: &'a BTreeMap<String, String>,
    map: &'a DeviceMap<'a>,
    storage: &'a Storage,
}

impl Supplements<'_> {
    fn append(&self, kernel: &KernelImage) -> Result<Option<Edit>, Refusal> {
        let input = SupplementInput {
            version: &kernel.report.version,
            contents: &kernel.contents,
            kernel: &kernel.texts,
            links: self.links,
            target: self.request.target,
        };
        let mut supplement = plan_supplement(&input)?;
        edit_arguments_inside(kernel, self.map, &mut supplement);
        self.storage
            .supplement(&kernel.contents, &mut supplement.files);
        if supplement == SupplementPlan::default() {
            return Ok(None);
        }
        let modules = read_modules(self.root, kernel, &supplement)?;
        let archive = archive(&supplement, &modules, &kernel.contents);
        let bytes = bytes_to_append(&archive, kernel.contents.compressor, kernel.size);
        let mut after = kernel.hasher.clone();
        let before = after.finalize().to_hex().to_string();
        after.update(&bytes);
        Ok(Some(Edit::Append {
            path: kernel.report.initrd.clone(),
            size: kernel.size,
            hashes: (before, after.finalize().to_hex().to_string()),
            bytes,
        }))
    }

    fn check_fixed(&self, kernel: &KernelImage, plan: &mut Plan) -> Result<(), Refusal> {
        let tree = ModuleTree::parse(&kernel.texts);
        if let Some(module) = drivers(kernel, &tree).lacking(self.request.target.disk) {
            return Err(lacking(kernel, module));
        }
        let argument = root_argument(&kernel.arguments).unwrap_or_default();
        if kernel.form == Form::Unified && is_volatile(&argument) {
            let lacks = format!(
                "a name of the root that does not depend on the hardware (root={argument:?})"
            );
            return Err(Refusal::UnifiedKernelImage {
                path: format!("/{}", kernel.report.initrd),
                lacks,
                fallback: None,
            });
        }
        let missing = missing_modules(
            &tree,
            &kernel.contents,
            &kernel.report.version,
            self.request.target,
        );
        if kernel.form == Form::Unified
            && !missing.contains(&"virtio_net".to_owned())
            && !self.links.is_empty()
        {
            plan.warnings.push(format!(
                "/{} may name the cards before the files that keep their names are read",
                kernel.report.initrd
            ));
        }
        Ok(())
    }
}

fn lacking(kernel: &KernelImage, module: &str) -> Refusal {
    let path = format!("/{}", kernel.report.initrd);
    match kernel.form {
        Form::Unified => Refusal::UnifiedKernelImage {
            path,
            lacks: module.to_owned(),
            fallback: None,
        },
        Form::Absent => Refusal::NoVirtio {
            version: kernel.report.version.clone(),
            module: format!("built-in {module} (it starts without an initramfs)"),
            fallback: None,
        },
        Form::Appendable => Refusal::UnknownInitrd {
            initrd: path,
            detail: format!(
                "it lacks {module} and was built neither by initramfs-tools nor by dracut, \
                 mkinitcpio or mkinitrd"
            ),
            fallback: None,
        },
    }
}

/// What a kernel can boot on.
pub(super) fn drivers<'a>(kernel: &KernelImage, tree: &'a ModuleTree) -> Drivers<'a> {
    let present = || -> BTreeSet<String> {
        present_modules(&kernel.contents, &kernel.report.version)
            .into_keys()
            .collect()
    };
    Drivers {
        tree,
        fixed: (!kernel.can_be_extended()).then(present),
    }
}

/// Adds what every kernel of the guest could boot on instead.
fn with_fallback(refusal: Refusal, kernels: &[KernelImage]) -> Refusal {
    let trees: Vec<ModuleTree> = kernels
        .iter()
        .map(|kernel| ModuleTree::parse(&kernel.texts))
        .collect();
    let all = kernels.iter().zip(&trees);
    let all: Vec<Drivers> = all.map(|(kernel, tree)| drivers(kernel, tree)).collect();
    match refusal {
        Refusal::NoVirtio {
            version, module, ..
        } => Refusal::NoVirtio {
            fallback: fallback(&all, format!("kernel {version} has no {module}")),
            version,
            module,
        },
        // Other hardware does not change the arguments.
        Refusal::UnifiedKernelImage { path, lacks, .. } if !lacks.contains(' ') => {
            Refusal::UnifiedKernelImage {
                fallback: fallback(&all, format!("{path} lacks {lacks}")),
                path,
                lacks,
            }
        }
        Refusal::UnknownInitrd { initrd, detail, .. } => Refusal::UnknownInitrd {
            fallback: fallback(&all, format!("{initrd} cannot be extended")),
            initrd,
            detail,
        },
        other => other,
    }
}

/// `root=` and `resume=` that a host-only initramfs carries in itself.
fn edit_arguments_inside(kernel: &KernelImage, map: &DeviceMap, plan: &mut SupplementPlan) {
    for (path, content) in &kernel.contents.files {
        if !(path.starts_with("etc/cmdline.d/") || path.starts_with("conf/conf.d/")) {
            continue;
        }
        let text = String::from_utf8_lossy(content);
        let edited = map.edit_arguments(&text).text;
        if edited != text {
            plan.files.insert(path.clone(), edited.into_bytes());
        }
    }
}

fn read_modules(
    root: &Root,
    kernel: &KernelImage,
    supplement: &SupplementPlan,
) -> Result<BTreeMap<String, Vec<u8>>, Refusal> {
    let mut modules = BTreeMap::new();
    for (path, inside) in &supplement.modules {
        let path = format!("lib/modules/{}/{path}", kernel.report.version);
        let content = root.read(&path, LARGEST_MODULE).ok().flatten();
        let content = content.ok_or_else(|| Refusal::NoVirtio {
            version: kernel.report.version.clone(),
            module: format!("readable /{path}"),
            fallback: None,
        })?;
        modules.insert(inside.clone(), content);
    }
    Ok(modules)
}
