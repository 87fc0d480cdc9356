//! Progress on standard error: moving bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::events::Event;
use crate::report::printable;

/// Shows events as they come.
pub struct Progress {
    bars: Option<MultiProgress>,
    open: HashMap<String, ProgressBar>,
    /// Tenths already said of a step, where there are no bars.
    said: HashMap<String, u64>,
}

impl Progress {
    /// Bars when standard error is a terminal.
    pub fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self {
            bars,
            open: HashMap::new(),
            said: HashMap::new(),
        }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Step { what, subject } => self.step(what, subject),
            Event::Progress {
                what,
                subject,
                done,
                total,
            } => self.advance(what, subject, *done, *total),
            Event::Done {
                what,
                subject,
                detail,
            } => self.done(what, subject, detail),
            Event::Session { id } => self.line(&format!("session {id}")),
            Event::Machine {
                machine,
                state,
                at_s,
                detail,
            } => {
                self.line(&format!(
                    "{at_s:>7.1} s  {machine:<16} {state} {}",
                    printable(detail)
                ));
            }
            Event::Warning { text } => self.line(&format!("warning: {}", printable(text))),
            Event::Result { .. } | Event::Failed { .. } => self.finish(),
        }
    }

    fn step(&mut self, what: &str, subject: &str) {
        let title = format!("{what}: {subject}");
        match &self.bars {
            None => self.line(&title),
            Some(bars) => {
                let bar = bars.add(ProgressBar::new_spinner().with_message(title.clone()));
                bar.enable_steady_tick(Duration::from_millis(120));
                self.open.insert(title, bar);
            }
        }
    }

    fn advance(&mut self, what: &str, subject: &str, done: u64, total: u64) {
        let title = format!("{what}: {subject}");
        match (&self.bars, self.open.get(&title)) {
            // A stream does not say how long it is.
            (Some(_), Some(bar)) if total == 0 => {
                bar.set_message(format!("{title}: {} MiB", done >> 20));
            }
            (Some(_), Some(bar)) => {
                if bar.length().is_none() {
                    bar.set_style(style());
                }
                bar.set_length(total);
                bar.set_position(done);
            }
            (None, _) => self.say_tenth(&title, done, total),
            _ => {}
        }
    }

    fn say_tenth(&mut self, title: &str, done: u64, total: u64) {
        let tenth = done.saturating_mul(10).checked_div(total).unwrap_or(10);
        if self.said.get(title).is_none_or(|said| tenth > *said) && tenth > 0 && tenth < 10 {
            self.said.insert(title.to_owned(), tenth);
            self.line(&format!("{title}: {}0 %", tenth));
        }
    }

    fn done(&mut self, what: &str, subject: &str, detail: &str) {
        let title = format!("{what}: {subject}");
        if let Some(bar) = self.open.remove(&title) {
            bar.finish_and_clear();
        }
        self.line(&format!("{title}: {}", printable(detail)));
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(text)),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        self.open
            .drain()
            .for_each(|(_, bar)| bar.finish_and_clear());
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {percent} % {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
