//! Which records of a boot are kept: of each kind the first ones and the last, with their number.
//!
//! What a boot says does not grow with the length of its log: a program that fails every second
//! says with its first and last failure what a thousand say. So later boots keep their place
//! however long an early one went on.

use std::collections::BTreeMap;

use crate::classify::What;
use crate::event::Event;

/// So many of each kind are kept before the last one.
const FIRST: usize = 4;
const MAX_KINDS: usize = 2_000;
const MAX_ROUGH_KINDS: usize = 3_000;

/// The kept records of one boot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    kinds: BTreeMap<u64, Vec<Event>>,
    bytes: usize,
}

impl Kept {
    /// Takes a record; returns whether it, or one of its kind, has a place.
    pub fn push(&mut self, event: Event) -> bool {
        let mut key = fine_kind(&event);
        if !self.kinds.contains_key(&key) && self.kinds.len() >= MAX_KINDS {
            // So many different texts are the work of one program: it gets one place for all.
            key = rough_kind(&event);
            if !self.kinds.contains_key(&key) && self.kinds.len() >= MAX_ROUGH_KINDS {
                return false;
            }
        }
        self.bytes += size(&event);
        let kind = self.kinds.entry(key).or_default();
        let at = kind.partition_point(|other| point(other) <= point(&event));
        kind.insert(at, event);
        self.bytes -= thin(kind, FIRST + 1);
        true
    }

    /// How much memory they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps only the first and the last of each kind, and only so many kinds: failures before
    /// the rest, early ones before late ones.
    pub fn shrink(&mut self, kinds: usize) {
        for kind in self.kinds.values_mut() {
            self.bytes -= thin(kind, 2);
        }
        let mut rank: Vec<((bool, u64), u64)> = self
            .kinds
            .iter()
            .filter_map(|(key, events)| {
                let first = events.first()?;
                let failed = matches!(first.what, What::Failure(_) | What::UnitFailed);
                Some(((!failed, first.monotonic_us), *key))
            })
            .collect();
        rank.sort_unstable();
        for (_, key) in rank.into_iter().skip(kinds) {
            let events = self.kinds.remove(&key).unwrap_or_default();
            self.bytes -= events.iter().map(size).sum::<usize>();
        }
    }

    pub fn into_events(self) -> Vec<Event> {
        self.kinds.into_values().flatten().collect()
    }
}

/// Takes out what lies in the middle; what is left counts for it. Returns the bytes set free.
fn thin(kind: &mut Vec<Event>, limit: usize) -> usize {
    let mut free = 0;
    while kind.len() > limit {
        let removed = kind.remove(kind.len() - 2);
        free += size(&removed);
        if let Some(last) = kind.last_mut() {
            last.count = last.count.saturating_add(removed.count);
        }
    }
    free
}

fn point(event: &Event) -> (u64, u64) {
    (event.monotonic_us, event.sequence)
}

fn size(event: &Event) -> usize {
    size_of::<Event>()
        + event.unit.len()
        + event.identifier.len()
        + event.message.len()
        + event.record.len()
}

/// A hash that is the same in every run.
struct Fnv(u64);

impl Fnv {
    fn new(event: &Event) -> Self {
        let mut hash = Self(0xcbf2_9ce4_8422_2325);
        hash.text(&format!("{:?}", event.what));
        hash.text(&event.unit);
        hash.text(&event.identifier);
        hash
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
        self.byte(0xff);
    }
}

fn rough_kind(event: &Event) -> u64 {
    Fnv::new(event).0
}

/// Numbers do not make another kind, but addresses do: they name the other party.
fn fine_kind(event: &Event) -> u64 {
    let mut hash = Fnv::new(event);
    let mut rest = event.message.as_str();
    while let Some(first) = rest.bytes().next() {
        if !first.is_ascii_digit() {
            hash.byte(first);
            rest = rest.get(1..).unwrap_or_else(|| {
                let next = rest.char_indices().nth(1).map_or(rest.len(), |(at, _)| at);
                &rest[next..]
            });
            continue;
        }
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        if number.matches('.').count() >= 3 {
            hash.text(number);
        } else {
            hash.byte(b'#');
        }
        rest = after;
    }
    hash.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::classify::Failure;

    fn event(second: u64, message: &str, what: What) -> Event {
        Event {
            monotonic_us: second * 1_000_000,
            realtime_us: 0,
            sequence: second,
            unit: String::new(),
            identifier: "app".to_owned(),
            message: message.to_owned(),
            file: Arc::from("log"),
            record: String::new(),
            count: 1,
            what,
        }
    }

    const REFUSED: What = What::Failure(Failure::Refused);

    fn seconds(kept: Kept) -> Vec<(u64, u32)> {
        let mut events = kept.into_events();
        events.sort_by_key(point);
        events
            .iter()
            .map(|e| (e.monotonic_us / 1_000_000, e.count))
            .collect()
    }

    #[test]
    fn of_each_kind_the_first_and_the_last_stay_whatever_their_order() {
        let mut kept = Kept::default();
        for second in (500..1000).chain(0..500) {
            assert!(kept.push(event(second, &format!("try {second}: refused"), REFUSED)));
        }
        assert_eq!(
            seconds(kept.clone()),
            [(0, 1), (1, 1), (2, 1), (3, 1), (999, 996)]
        );
        kept.shrink(10);
        assert_eq!(seconds(kept), [(0, 1), (999, 999)]);
    }

    #[test]
    fn addresses_make_kinds_and_numbers_do_not() {
        let kind = |text: &str| fine_kind(&event(0, text, REFUSED));
        assert_eq!(kind("pid 12 port 5432 é"), kind("pid 9 port 80 é"));
        assert_ne!(kind("to 10.0.0.1 failed"), kind("to 10.0.0.2 failed"));
        assert_ne!(kind("to db1 failed"), kind("to db failed"));
    }

    #[test]
    fn any_number_of_kinds_is_bounded_and_failures_outlast_the_rest() {
        let mut kept = Kept::default();
        for number in 0..100_000_u64 {
            let word: String = number
                .to_string()
                .bytes()
                .map(|b| char::from(b + 49))
                .collect();
            let what = if number % 2 == 0 {
                What::Ready
            } else {
                REFUSED
            };
            kept.push(event(number, &word, what));
        }
        assert!(kept.kinds.len() <= MAX_ROUGH_KINDS);
        let told: usize = kept.clone().into_events().iter().map(size).sum();
        assert_eq!(told, kept.bytes());
        kept.shrink(100);
        let events = kept.into_events();
        assert!(events.iter().all(|event| event.what == REFUSED));
        assert_eq!(events[0].monotonic_us % 2, 0);
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_kind(text: String) {
            let _ = fine_kind(&event(0, &text, REFUSED));
        }
    }
}
