//! One seat for each host: two agents with one certificate are one too many.

use std::collections::HashMap;

use crate::wire::{Hello, Refusal};

/// Who sits in a host's seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Names the connection; newer ones are greater.
    pub connection: u64,
    /// The boot id of the machine at its other end.
    pub boot: String,
}

/// What happens to somebody who claims a host's seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The seat was free.
    Seated,
    /// It was that machine's own; the older connection of it is to be closed.
    Replaces(u64),
    /// Another machine sits there. Ask that connection for a sign of life: when it answers, turn
    /// the newcomer away with [`Seats::taken`]; when it does not, [`Seats::leave`] it and claim
    /// again.
    AskFirst(u64),
}

/// All seats.
#[derive(Debug, Default)]
pub struct Seats {
    seats: HashMap<String, Seat>,
}

impl Seats {
    /// The agent of `host` said hello over `connection`.
    pub fn claim(&mut self, host: &str, connection: u64, hello: &Hello) -> Claim {
        let claim = match self.seats.get(host) {
            Some(seat) if seat.boot != hello.boot => return Claim::AskFirst(seat.connection),
            Some(seat) => Claim::Replaces(seat.connection),
            None => Claim::Seated,
        };
        let seat = Seat {
            connection,
            boot: hello.boot.clone(),
        };
        self.seats.insert(host.to_owned(), seat);
        claim
    }

    /// A connection ended. Nothing happens when the seat is a newer one's already.
    pub fn leave(&mut self, host: &str, connection: u64) {
        if self
            .seats
            .get(host)
            .is_some_and(|seat| seat.connection == connection)
        {
            self.seats.remove(host);
        }
    }

    /// Who sits in a host's seat.
    pub fn seat(&self, host: &str) -> Option<&Seat> {
        self.seats.get(host)
    }

    /// What a newcomer is told when the seat is taken.
    pub fn taken(&self, host: &str) -> Refusal {
        Refusal::HostTaken {
            host: host.to_owned(),
            boot: self
                .seat(host)
                .map(|seat| seat.boot.clone())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PROTOCOL;

    fn hello(boot: &str) -> Hello {
        Hello {
            protocol: PROTOCOL,
            version: String::new(),
            boot: boot.to_owned(),
            incarnation: 1,
            profile: None,
            peer_port: None,
            lease: None,
        }
    }

    #[test]
    fn a_machine_takes_its_own_seat_again_and_a_copy_of_it_does_not() {
        let mut seats = Seats::default();
        assert_eq!(seats.claim("mail-a", 1, &hello("one")), Claim::Seated);
        assert_eq!(seats.claim("mail-a", 2, &hello("one")), Claim::Replaces(1));
        assert_eq!(seats.claim("mail-a", 3, &hello("two")), Claim::AskFirst(2));
        seats.leave("mail-a", 1);
        assert_eq!(seats.claim("mail-a", 4, &hello("two")), Claim::AskFirst(2));
        seats.leave("mail-a", 2);
        assert_eq!(seats.claim("mail-a", 5, &hello("two")), Claim::Seated);
    }
}
