//! The child's side.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use super::walls::{self, Needs};
use super::{Answer, Attempts, ChainLink, Findings, Proof, Question, Task, Walls};
use crate::disk::{self, Disk, LayeredDisk, Qcow2Disk, QemuIoDisk, RawDisk};
use crate::error::{Refusal, RefusalKind};
use crate::format::Format;
use crate::partitions;
use crate::structure::{self, Facts};

/// The program behind [`super::Confined`]. Call it first thing in `main`, before threads and other
/// descriptors exist: it closes every descriptor but the standard ones and gives up all
/// rights of the process. `args` is what follows the words given to [`super::Confined::new`].
pub fn confined_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    close_inherited();
    let question = args
        .into_iter()
        .next()
        .and_then(|text| serde_json::from_slice::<Question>(text.as_encoded_bytes()).ok());
    let Some(question) = question else {
        eprintln!("this program is internal: it answers questions of Lifeboat itself");
        return ExitCode::from(2);
    };
    match write_answer(&answer(&question)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Descriptors that the parent leaked are closed, so that nothing in here can reach them.
fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // The listing's own descriptor is in the list and already closed.
        let _ = nix::unistd::close(number);
    }
}

fn write_answer(answer: &Answer) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    stdout.flush()
}

fn answer(question: &Question) -> Answer {
    let opened = open_image(question);
    let (image, chain) = match opened {
        Ok(opened) => opened,
        Err(error) => return Answer::NoWalls(format!("opening the image failed ({error})")),
    };
    let needs = if question.with_qemu {
        Needs::Qemu(&image)
    } else {
        Needs::Nothing
    };
    let walls = match walls::raise(&question.limits, &needs) {
        Ok(walls) => walls,
        Err(reason) => return Answer::NoWalls(reason),
    };
    let done = match &question.task {
        Task::Inspect => inspect(question, &image, chain),
        Task::Map => map(question, image),
        Task::Prove(attempts) => Ok(Answer::Proof(prove(attempts, walls, question))),
    };
    done.unwrap_or_else(Answer::Refused)
}

/// The image arrives as standard input. The copy survives `exec`, for QEMU's programs.
fn open_image(question: &Question) -> io::Result<(OwnedFd, Vec<File>)> {
    let image = nix::unistd::dup(io::stdin().as_fd())?;
    let chain = question.chain.iter().map(open_link);
    Ok((image, chain.collect::<io::Result<_>>()?))
}

fn open_link(link: &ChainLink) -> io::Result<File> {
    let file = File::open(&link.path)?;
    let metadata = file.metadata()?;
    if (metadata.dev(), metadata.ino()) != (link.device, link.inode) {
        return Err(io::Error::other("the backing file was replaced"));
    }
    Ok(file)
}

fn file(image: &OwnedFd) -> Result<File, Refusal> {
    let copy = image.try_clone();
    copy.map(File::from)
        .map_err(|error| Refusal::damaged(format!("its descriptor cannot be copied ({error})")))
}

fn inspect(question: &Question, image: &OwnedFd, chain: Vec<File>) -> Result<Answer, Refusal> {
    let facts = structure::check(question.format, &file(image)?, question.length)?;
    if needs_qemu(question, &facts) && !question.with_qemu {
        return Ok(Answer::NeedsQemu);
    }
    let mut risks = facts.risks.clone();
    let mut disk: Box<dyn Disk> = if question.chain.is_empty() {
        refuse_backing(&facts)?;
        open_disk(question, &facts, image)?
    } else {
        open_chain(question, &facts, image, chain, &mut risks)?
    };
    let virtual_size = disk.size();
    structure::plausible_size(virtual_size)?;
    if let Some(declared) = facts
        .virtual_size
        .filter(|declared| *declared != virtual_size)
    {
        risks.push(format!(
            "its header says {declared} bytes, QEMU serves a disk of {virtual_size} bytes"
        ));
    }
    let layout = partitions::layout(disk.as_mut())?;
    risks.extend(layout.risks);
    Ok(Answer::Inspected(Findings {
        variant: facts.variant,
        virtual_size,
        cluster_size: facts.cluster_size,
        table: layout.table,
        partitions: layout.partitions,
        whole_disk: layout.whole_disk,
        firmware_hint: layout.firmware_hint,
        risks,
    }))
}

fn needs_qemu(question: &Question, facts: &Facts) -> bool {
    match question.format {
        Format::Raw => false,
        Format::Qcow2 => !facts.plain_qcow2 && question.chain.is_empty(),
        _ => true,
    }
}

fn refuse_backing(facts: &Facts) -> Result<(), Refusal> {
    match &facts.backing_name {
        None => Ok(()),
        Some(name) => Err(structure::refuse_reference(name.as_bytes(), "backing file")),
    }
}

fn open_disk(
    question: &Question,
    facts: &Facts,
    image: &OwnedFd,
) -> Result<Box<dyn Disk>, Refusal> {
    match question.format {
        Format::Raw => Ok(Box::new(RawDisk::new(file(image)?, question.length))),
        Format::Qcow2 if facts.plain_qcow2 => Ok(Box::new(open_qcow2(file(image)?)?)),
        format => Ok(Box::new(QemuIoDisk::open(format, image)?)),
    }
}

fn open_qcow2(file: File) -> Result<Qcow2Disk, Refusal> {
    Qcow2Disk::open(file)
        .map_err(|error| Refusal::damaged(format!("its metadata are unreadable ({error})")))
}

/// Builds the disk from the bottom of the chain to the image.
fn open_chain(
    question: &Question,
    facts: &Facts,
    image: &OwnedFd,
    chain: Vec<File>,
    risks: &mut Vec<String>,
) -> Result<Box<dyn Disk>, Refusal> {
    let mut below: Option<Box<dyn Disk>> = None;
    let links: Vec<_> = question.chain.iter().zip(chain).collect();
    for (index, (link, link_file)) in links.into_iter().enumerate().rev() {
        let checked = structure::check(link.format, &link_file, link.length)?;
        risks.extend(checked.risks.iter().cloned());
        let named = question.chain.get(index + 1);
        below = Some(layer(
            link.format,
            link.length,
            link_file,
            &checked,
            named,
            below,
        )?);
    }
    let top = file(image)?;
    let named = question.chain.first();
    layer(question.format, question.length, top, facts, named, below)
}

fn layer(
    format: Format,
    length: u64,
    file: File,
    facts: &Facts,
    named: Option<&ChainLink>,
    below: Option<Box<dyn Disk>>,
) -> Result<Box<dyn Disk>, Refusal> {
    match (format, below) {
        (Format::Raw, None) => Ok(Box::new(RawDisk::new(file, length))),
        (Format::Qcow2, below) if facts.plain_qcow2 => {
            matches_name(facts, named)?;
            let top = open_qcow2(file)?;
            Ok(match below {
                None => Box::new(top),
                Some(below) => Box::new(LayeredDisk::new(top, below)),
            })
        }
        (format, _) => Err(Refusal::new(
            RefusalKind::BackingFile,
            format!("a chain cannot contain this {format} image"),
            "give a flattened image, made with `qemu-img convert -O qcow2`",
        )),
    }
}

/// The chain is the operator's word; the name in the image only has to agree with it.
fn matches_name(facts: &Facts, named: Option<&ChainLink>) -> Result<(), Refusal> {
    let inside = facts.backing_name.as_ref().map(std::path::Path::new);
    let inside_name = inside.and_then(std::path::Path::file_name);
    let named_name = named.and_then(|link| link.path.file_name());
    match (inside, named) {
        (None, None) => Ok(()),
        (Some(_), Some(_)) if inside_name == named_name => Ok(()),
        (Some(path), _) => Err(structure::refuse_reference(
            path.as_os_str().as_encoded_bytes(),
            "backing file",
        )),
        (None, Some(link)) => Err(Refusal::new(
            RefusalKind::BackingFile,
            format!(
                "it has no backing file, but `{}` was named as one",
                link.path.display()
            ),
            "leave the chain out",
        )),
    }
}

fn map(question: &Question, image: OwnedFd) -> Result<Answer, Refusal> {
    if question.format != Format::Qcow2 {
        return Err(Refusal::new(
            RefusalKind::UnsupportedFormat,
            format!("{} has no layers to map", question.format),
            "map a qcow2 overlay",
        ));
    }
    let copy = file(&image)?;
    let source = structure::Source {
        file: &copy,
        length: question.length,
    };
    let populated = structure::qcow2::populated(&source)?;
    disk::map_qcow2(image.into(), &populated)
        .map(Answer::Mapped)
        .map_err(|error| Refusal::damaged(format!("its metadata are unreadable ({error})")))
}

fn prove(attempts: &Attempts, walls: Walls, question: &Question) -> Proof {
    let timeout = std::time::Duration::from_secs(1);
    let too_much = usize::try_from(question.limits.memory).unwrap_or(usize::MAX);
    Proof {
        walls,
        read_a_file: File::open(&attempts.read).is_ok(),
        wrote_a_file: File::create(&attempts.write).is_ok(),
        connected: std::net::TcpStream::connect_timeout(&attempts.connect, timeout).is_ok(),
        exceeded_memory: Vec::<u8>::new().try_reserve_exact(too_much).is_ok(),
    }
}
