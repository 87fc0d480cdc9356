//! The child's side.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use super::chain::Chain;
use super::walls::{self, Needs};
use super::{Answer, Attempts, Findings, Part, Proof, Question, Step, Task, Walls, wire};
use crate::conversion::{Checkpoint, ConversionLimits};
use crate::convert::{self, Target};
use crate::disk;
use crate::error::{Refusal, RefusalKind};
use crate::format::Container;
use crate::package::{self, Package};
use crate::partitions;
use crate::structure;

/// The program behind [`super::Confined`]. Call it first thing in `main`, before threads and other
/// descriptors exist: it closes every descriptor but the standard ones and gives up all
/// rights of the process. `args` is what follows the words given to [`super::Confined::new`].
pub fn confined_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    close_inherited();
    let received = if args.into_iter().next().is_some() {
        None
    } else {
        wire::receive(io::stdin()).ok()
    };
    let asked = received.and_then(|(files, text)| {
        let question: Question = serde_json::from_str(&text).ok()?;
        Some((question, files))
    });
    let Some((question, files)) = asked else {
        eprintln!("this program is internal: it answers questions of Lifeboat itself");
        return ExitCode::from(2);
    };
    match write_answer(&answer(&question, files)) {
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

fn answer(question: &Question, files: Vec<OwnedFd>) -> Answer {
    let given = match Given::new(question, files) {
        Ok(given) => given,
        Err(reason) => return Answer::NoWalls(reason.to_owned()),
    };
    let all: Vec<&File> = given.all().collect();
    let needs = match &question.task {
        Task::Convert { limits, .. } => Needs::Written(limits.largest_disk),
        _ if question.with_qemu => Needs::Qemu(&all),
        _ => Needs::Nothing,
    };
    let walls = match walls::raise(&question.limits, &needs) {
        Ok(walls) => walls,
        Err(reason) => return Answer::NoWalls(reason),
    };
    let done = match &question.task {
        Task::Extents => extents(&given),
        Task::Inspect => inspect(question, &given, &walls),
        Task::Map => map(question, &given),
        Task::Convert { from, limits } => convert(question, &given, from, limits),
        Task::Package { archive } => package(&given, *archive),
        Task::Manifest => manifest(&given),
        Task::Prove(attempts) => Ok(Answer::Proof(prove(attempts, walls, question))),
    };
    done.unwrap_or_else(Answer::Refused)
}

/// What came with the question.
pub(super) struct Given {
    pub layers: Vec<Vec<Part>>,
    /// The file to write, and what else belongs to no layer.
    further: Vec<File>,
}

impl Given {
    fn new(question: &Question, files: Vec<OwnedFd>) -> Result<Self, &'static str> {
        let mut files = files.into_iter();
        let mut layers = Vec::new();
        for layer in &question.layers {
            let mut parts = Vec::new();
            for asked in &layer.files {
                let file = files.next().ok_or("a file of the image did not arrive")?;
                parts.push(Part {
                    file: file.into(),
                    length: asked.length,
                    name: asked.name.clone(),
                });
            }
            layers.push(parts);
        }
        let further = files.map(File::from).collect();
        Ok(Self { layers, further })
    }

    fn all(&self) -> impl Iterator<Item = &File> {
        self.layers.iter().flatten().map(|part| &part.file)
    }

    fn top(&self) -> Result<&Part, Refusal> {
        let top = self.layers.first().and_then(|layer| layer.first());
        top.ok_or_else(|| Refusal::damaged("it consists of no file"))
    }
}

fn extents(given: &Given) -> Result<Answer, Refusal> {
    let text = structure::vmdk::read_text(&given.top()?.source())?;
    let descriptor = structure::vmdk_descriptor::parse(&text)?;
    Ok(Answer::Extents(descriptor.files))
}

fn inspect(question: &Question, given: &Given, walls: &Walls) -> Result<Answer, Refusal> {
    let chain = Chain::check(question, given)?;
    if chain.needs_qemu() && !question.with_qemu {
        return Ok(Answer::NeedsQemu);
    }
    let mut disk = chain.open()?;
    let mut risks = chain.risks();
    let virtual_size = disk.size();
    structure::plausible_size(virtual_size)?;
    let facts = chain.top();
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
    risks.extend(walls.gaps());
    Ok(Answer::Inspected(Findings {
        serving: chain.serving(),
        variant: facts.variant.clone(),
        virtual_size,
        cluster_size: facts.cluster_size,
        table: layout.table,
        partitions: layout.partitions,
        whole_disk: layout.whole_disk,
        firmware_hint: layout.firmware_hint,
        risks,
    }))
}

fn convert(
    question: &Question,
    given: &Given,
    from: &Checkpoint,
    limits: &ConversionLimits,
) -> Result<Answer, Refusal> {
    let (Some(layer), [file]) = (question.layers.first(), given.further.as_slice()) else {
        return Err(Refusal::damaged("there is nothing to convert"));
    };
    let mut target = Target {
        file,
        limits,
        report: &mut report,
    };
    let size = if layer.container.is_packed() {
        convert::unpack(layer.container, given.top()?, from, &mut target)?
    } else {
        let chain = Chain::check(question, given)?;
        let disk = chain.content()?;
        let files = question.layers.iter().flat_map(|layer| &layer.files);
        let taken = files.map(|file| file.length).sum();
        convert::convert(layer.container, disk.as_ref(), taken, from, &mut target)?
    };
    Ok(Answer::Converted(size))
}

fn report(step: Step) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Answer::Converting(step))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

fn map(question: &Question, given: &Given) -> Result<Answer, Refusal> {
    let container = question.layers.first().map(|layer| layer.container);
    if container != Some(Container::Qcow2) {
        return Err(Refusal::new(
            RefusalKind::UnsupportedFormat,
            "only qcow2 has layers to map",
            "map a qcow2 overlay",
        ));
    }
    let part = given.top()?;
    let populated = structure::qcow2::populated(&part.source())?;
    disk::map_qcow2(part.copy()?, &populated)
        .map(Answer::Mapped)
        .map_err(|error| Refusal::damaged(format!("its metadata are unreadable ({error})")))
}

fn package(given: &Given, archive: bool) -> Result<Answer, Refusal> {
    let Part { file, length, .. } = given.top()?;
    let package = match archive {
        true => package::archive::read(file, *length)?,
        false => package::descriptor::parse(&text(file, package::descriptor::LONGEST)?)?,
    };
    Ok(Answer::Package(package))
}

fn manifest(given: &Given) -> Result<Answer, Refusal> {
    let text = text(&given.top()?.file, package::manifest::LONGEST)?;
    let digests = package::manifest::parse(&text)?;
    Ok(Answer::Package(Package {
        digests,
        ..Package::default()
    }))
}

fn text(file: &File, longest: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let read = file.take(longest + 1).read_to_end(&mut bytes);
    read.map_err(|error| Refusal::damaged(format!("it cannot be read ({error})")))?;
    if bytes.len() as u64 > longest {
        return Err(Refusal::absurd(format!("it has more than {longest} bytes")));
    }
    Ok(bytes)
}

fn prove(attempts: &Attempts, walls: Walls, question: &Question) -> Proof {
    let timeout = std::time::Duration::from_secs(1);
    let nobody_else = nix::unistd::Pid::from_raw(0);
    let too_much = usize::try_from(question.limits.memory).unwrap_or(usize::MAX);
    Proof {
        walls,
        read_a_file: File::open(&attempts.read).is_ok(),
        wrote_a_file: File::create(&attempts.write).is_ok(),
        connected: std::net::TcpStream::connect_timeout(&attempts.connect, timeout).is_ok(),
        exceeded_memory: Vec::<u8>::new().try_reserve_exact(too_much).is_ok(),
        // There is no such program, which is found out by a new process only.
        started_a_process: std::process::Command::new("/nowhere")
            .spawn()
            .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |_| true),
        left_its_group: nix::unistd::setpgid(nobody_else, nobody_else).is_ok(),
    }
}
