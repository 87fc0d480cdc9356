//! What happened to a site over time: boots, and what each machine wrote.

use fastrand::Rng;

use crate::messages::Said;

/// One line of a log, before it has a form.
#[derive(Debug, Clone)]
pub struct Record {
    pub boot: usize,
    /// Seconds since the kernel started.
    pub monotonic: f64,
    /// What the machine's own clock showed.
    pub wall: f64,
    pub tag: String,
    pub pid: u32,
    /// The unit that wrote it or, from `systemd`, that it is about.
    pub unit: String,
    pub priority: u8,
    pub text: String,
    /// Further journal fields.
    pub fields: Vec<(&'static str, String)>,
    /// Goes to a file of the program instead of the system log.
    pub own_file: bool,
}

/// One boot of one machine.
#[derive(Debug, Clone)]
pub struct Boot {
    /// True time of the kernel's first line.
    pub kernel: f64,
    /// How far the clock was off at the beginning.
    pub skew: f64,
    /// Seconds after which a time client stepped the clock.
    pub stepped_after: Option<f64>,
    /// True time of the last line, known once the next boot begins.
    pub end: f64,
}

impl Boot {
    pub fn wall(&self, time: f64) -> f64 {
        match self.stepped_after {
            Some(after) if time - self.kernel >= after => time,
            _ => time + self.skew,
        }
    }
}

/// The log of one machine as it grows.
#[derive(Debug, Default)]
pub struct Log {
    pub boots: Vec<Boot>,
    pub records: Vec<Record>,
    /// Tags whose lines go elsewhere.
    pub own_file: Vec<String>,
}

/// Message ids of the manager, as its catalogue lists them.
const STARTING: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";
const STARTED: &str = "39f53479d3a045ac8e11786248231fbf";
const FAILED: &str = "be02cf6855d2428ba40df7e9d022f03d";
const STOPPED: &str = "9d1aaa27d60140bd96365438aad20286";
const RESTARTING: &str = "5eb03494b6584870a536b337290809b3";
const RESULT: &str = "d9b373ed55a64feb8242e02dbe79a49c";
const EXITED: &str = "98e322203f7a4ed290d09fe03c09fe15";

impl Log {
    /// Writes a line in the current boot.
    pub fn say(&mut self, time: f64, said: Said) {
        let fields = Vec::new();
        self.push(time, said, fields);
    }

    fn push(&mut self, time: f64, said: Said, fields: Vec<(&'static str, String)>) {
        let Some(number) = self.boot_at(time) else {
            return;
        };
        let boot = &self.boots[number];
        let pid = match said.tag.as_str() {
            "systemd" => 1,
            "kernel" => 0,
            tag => 400 + (tag.bytes().map(u32::from).sum::<u32>() * 7 + number as u32 * 131) % 3000,
        };
        self.records.push(Record {
            boot: number,
            monotonic: time - boot.kernel,
            wall: boot.wall(time),
            own_file: self.own_file.contains(&said.tag),
            tag: said.tag,
            pid,
            unit: said.unit,
            priority: said.priority,
            text: said.text,
            fields,
        });
    }

    fn boot_at(&self, time: f64) -> Option<usize> {
        self.boots
            .iter()
            .rposition(|boot| boot.kernel <= time && time <= boot.end)
    }

    pub fn plain(&mut self, time: f64, tag: &str, unit: &str, text: impl Into<String>) {
        self.say(
            time,
            Said {
                tag: tag.into(),
                unit: unit.into(),
                priority: 6,
                text: text.into(),
            },
        );
    }

    fn manager(
        &mut self,
        time: f64,
        unit: &str,
        priority: u8,
        text: String,
        id: &'static str,
        job: Option<(&str, &str)>,
    ) {
        let said = Said {
            tag: "systemd".into(),
            unit: unit.into(),
            priority,
            text,
        };
        let mut fields = vec![("MESSAGE_ID", id.to_owned())];
        if let Some((kind, result)) = job {
            fields.push(("JOB_TYPE", kind.to_owned()));
            if !result.is_empty() {
                fields.push(("JOB_RESULT", result.to_owned()));
            }
        }
        self.push(time, said, fields);
    }

    pub fn starting(&mut self, time: f64, unit: &str, shown: &str) {
        self.manager(
            time,
            unit,
            6,
            format!("Starting {shown}..."),
            STARTING,
            Some(("start", "")),
        );
    }

    pub fn started(&mut self, time: f64, unit: &str, shown: &str) {
        self.manager(
            time,
            unit,
            6,
            format!("Started {shown}."),
            STARTED,
            Some(("start", "done")),
        );
    }

    pub fn exited(&mut self, time: f64, unit: &str) {
        self.manager(
            time,
            unit,
            5,
            format!("{unit}: Main process exited, code=exited, status=1/FAILURE"),
            EXITED,
            None,
        );
        self.manager(
            time + 0.001,
            unit,
            4,
            format!("{unit}: Failed with result 'exit-code'."),
            RESULT,
            None,
        );
    }

    pub fn failed(&mut self, time: f64, unit: &str, shown: &str) {
        self.manager(
            time,
            unit,
            3,
            format!("Failed to start {shown}."),
            FAILED,
            Some(("start", "failed")),
        );
    }

    pub fn restarting(&mut self, time: f64, unit: &str, shown: &str, count: usize) {
        self.manager(
            time,
            unit,
            6,
            format!("{unit}: Scheduled restart job, restart counter is at {count}."),
            RESTARTING,
            None,
        );
        self.manager(
            time + 0.001,
            unit,
            6,
            format!("Stopped {shown}."),
            STOPPED,
            Some(("stop", "done")),
        );
    }

    pub fn stopped(&mut self, time: f64, unit: &str, shown: &str) {
        self.manager(
            time,
            unit,
            6,
            format!("Stopped {shown}."),
            STOPPED,
            Some(("stop", "done")),
        );
    }
}

/// A value between two bounds.
pub fn between(rng: &mut Rng, least: f64, most: f64) -> f64 {
    least + rng.f64() * (most - least)
}
