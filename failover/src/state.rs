//! The state machine of figure 2: eight states, nine numbered transitions, and the ways back that
//! the figure leaves out.
//!
//! ```text
//!            204            208           212           216           220
//! Normal 202 --> Degrading --> Engaging --> Secondary --> Resync --> Engaging
//!   |  ^        Primary 206   Secondary     Engaged 214   Primary    Primary 222
//!   |  |                      210 ^                       218           | 224
//!   |  +--- 228 --- Resync Secondary 226 <------------------------------+
//!   | 230                         |
//!   +----> Degraded User Access 232 -- 234 --> 210
//! ```
//!
//! Ways back, without numbers of their own: the condition behind 204 or 230 ends; a switch-over or
//! switch-back is aborted or undone; a re-synchronisation loses its target.

use serde::{Deserialize, Serialize};

use crate::side::Side;

/// The state of an application on two sites (section IV).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// 202: everything is within its observed ranges, on the primary.
    Normal,
    /// 206: something of the primary or of its replication is impaired or tends to be.
    DegradingPrimary,
    /// 210: the primary is brought to rest and the secondary to life.
    EngagingSecondary,
    /// 214: the secondary serves, the primary stands by, changes are kept for it.
    SecondaryEngaged,
    /// 218: the secondary serves, kept changes are brought to the primary.
    ResyncPrimary,
    /// 222: the secondary is brought to rest and the primary to life.
    EngagingPrimary,
    /// 226: the primary serves, its changes are brought to the secondary.
    ResyncSecondary,
    /// 232: the primary is well, but its users do not reach it as they should.
    DegradedUserAccess,
}

/// Which way data flow, or are about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataFlow {
    /// Changes of this side reach the other as they happen.
    Replicating {
        /// The source.
        from: Side,
    },
    /// Changes of this side are kept for the other and not sent.
    Kept {
        /// The source.
        from: Side,
    },
    /// A switch is under way: the direction changes.
    Turning,
}

/// The one unambiguous answer to "where are we?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indication {
    /// The state.
    pub state: State,
    /// Which side serves users; none while a switch is under way.
    pub active: Option<Side>,
    /// Where data flow.
    pub data: DataFlow,
}

impl State {
    /// All eight, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Normal,
        Self::DegradingPrimary,
        Self::EngagingSecondary,
        Self::SecondaryEngaged,
        Self::ResyncPrimary,
        Self::EngagingPrimary,
        Self::ResyncSecondary,
        Self::DegradedUserAccess,
    ];

    /// Its number in figure 2.
    pub fn number(self) -> u16 {
        match self {
            Self::Normal => 202,
            Self::DegradingPrimary => 206,
            Self::EngagingSecondary => 210,
            Self::SecondaryEngaged => 214,
            Self::ResyncPrimary => 218,
            Self::EngagingPrimary => 222,
            Self::ResyncSecondary => 226,
            Self::DegradedUserAccess => 232,
        }
    }

    /// Its name, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::DegradingPrimary => "degrading primary",
            Self::EngagingSecondary => "engaging secondary",
            Self::SecondaryEngaged => "secondary engaged, primary in standby",
            Self::ResyncPrimary => "resynchronising primary",
            Self::EngagingPrimary => "engaging primary",
            Self::ResyncSecondary => "resynchronising secondary",
            Self::DegradedUserAccess => "degraded user access",
        }
    }

    /// Which side serves users in this state; none while a switch is under way.
    pub fn active(self) -> Option<Side> {
        match self {
            Self::Normal
            | Self::DegradingPrimary
            | Self::DegradedUserAccess
            | Self::ResyncSecondary => Some(Side::Primary),
            Self::SecondaryEngaged | Self::ResyncPrimary => Some(Side::Secondary),
            Self::EngagingSecondary | Self::EngagingPrimary => None,
        }
    }

    /// Where data flow in this state.
    pub fn data(self) -> DataFlow {
        match self {
            Self::Normal
            | Self::DegradingPrimary
            | Self::DegradedUserAccess
            | Self::ResyncSecondary => DataFlow::Replicating {
                from: Side::Primary,
            },
            Self::SecondaryEngaged => DataFlow::Kept {
                from: Side::Secondary,
            },
            Self::ResyncPrimary => DataFlow::Replicating {
                from: Side::Secondary,
            },
            Self::EngagingSecondary | Self::EngagingPrimary => DataFlow::Turning,
        }
    }

    /// State, active side and direction in one.
    pub fn indication(self) -> Indication {
        Indication {
            state: self,
            active: self.active(),
            data: self.data(),
        }
    }
}

/// What happened, as far as the state machine cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A subsystem of the primary, or its replication, is impaired or tends to be; or the operator
    /// announces planned work on it.
    PrimaryDegrades,
    /// Users do not reach the primary as they should, though it is well.
    UserAccessDegrades,
    /// What degraded is within its range again.
    ConditionEnded,
    /// The operator, or Auto Pilot, wants the secondary to serve.
    SwitchOver,
    /// Every step of the switch under way is done.
    SwitchDone,
    /// The switch under way was aborted, and everything it did was undone.
    SwitchReverted,
    /// The primary can receive: bringing kept changes to it begins.
    PrimaryReceives,
    /// The primary can no longer receive.
    PrimaryLost,
    /// The primary has everything, and the operator or Auto Pilot wants it to serve.
    SwitchBack,
    /// The secondary has everything that the primary has.
    SecondaryComplete,
}

/// The nine numbered transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transition {
    /// 204.
    Degrading,
    /// 208.
    EngageFromDegrading,
    /// 212.
    SecondaryEngaged,
    /// 216.
    StandbyReached,
    /// 220.
    PrimaryResynced,
    /// 224.
    PrimaryEngaged,
    /// 228.
    ToNormal,
    /// 230.
    UserAccessDegraded,
    /// 234.
    EngageFromUserAccess,
}

impl Transition {
    /// All nine, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Degrading,
        Self::EngageFromDegrading,
        Self::SecondaryEngaged,
        Self::StandbyReached,
        Self::PrimaryResynced,
        Self::PrimaryEngaged,
        Self::ToNormal,
        Self::UserAccessDegraded,
        Self::EngageFromUserAccess,
    ];

    /// Its number in figure 2.
    pub fn number(self) -> u16 {
        match self {
            Self::Degrading => 204,
            Self::EngageFromDegrading => 208,
            Self::SecondaryEngaged => 212,
            Self::StandbyReached => 216,
            Self::PrimaryResynced => 220,
            Self::PrimaryEngaged => 224,
            Self::ToNormal => 228,
            Self::UserAccessDegraded => 230,
            Self::EngageFromUserAccess => 234,
        }
    }

    /// Where it begins, what causes it, where it ends.
    pub fn arrow(self) -> (State, Event, State) {
        use State::{
            DegradedUserAccess, DegradingPrimary, EngagingPrimary, EngagingSecondary, Normal,
            ResyncPrimary, ResyncSecondary, SecondaryEngaged,
        };
        match self {
            Self::Degrading => (Normal, Event::PrimaryDegrades, DegradingPrimary),
            Self::EngageFromDegrading => (DegradingPrimary, Event::SwitchOver, EngagingSecondary),
            Self::SecondaryEngaged => (EngagingSecondary, Event::SwitchDone, SecondaryEngaged),
            Self::StandbyReached => (SecondaryEngaged, Event::PrimaryReceives, ResyncPrimary),
            Self::PrimaryResynced => (ResyncPrimary, Event::SwitchBack, EngagingPrimary),
            Self::PrimaryEngaged => (EngagingPrimary, Event::SwitchDone, ResyncSecondary),
            Self::ToNormal => (ResyncSecondary, Event::SecondaryComplete, Normal),
            Self::UserAccessDegraded => (Normal, Event::UserAccessDegrades, DegradedUserAccess),
            Self::EngageFromUserAccess => {
                (DegradedUserAccess, Event::SwitchOver, EngagingSecondary)
            }
        }
    }
}

/// What an event does to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// One of the nine.
    Numbered(Transition),
    /// A way back that the figure leaves out.
    Back(State),
    /// The state says that already.
    Stays,
}

impl Move {
    /// The state after it.
    pub fn target(self, from: State) -> State {
        match self {
            Self::Numbered(transition) => transition.arrow().2,
            Self::Back(state) => state,
            Self::Stays => from,
        }
    }
}

/// An event that has no meaning in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the application is in state {} ({}), where {} is not possible", .state.number(), .state.title(), .event.wish())]
pub struct NotNow {
    /// The state.
    pub state: State,
    /// What was asked for.
    pub event: Event,
}

impl Event {
    fn wish(self) -> &'static str {
        match self {
            Self::PrimaryDegrades | Self::UserAccessDegrades => "a degradation of the primary",
            Self::ConditionEnded => "the end of a degradation",
            Self::SwitchOver => "a switch-over",
            Self::SwitchDone => "the end of a switch",
            Self::SwitchReverted => "undoing a switch",
            Self::PrimaryReceives | Self::PrimaryLost => "resynchronising the primary",
            Self::SwitchBack => "a switch-back",
            Self::SecondaryComplete => "completing the secondary",
        }
    }
}

/// What `event` does in `state`. `came_from` is the state before a switch that is under way, to
/// which an abort returns.
pub fn apply(state: State, event: Event, came_from: Option<State>) -> Result<Move, NotNow> {
    let numbered = Transition::ALL
        .into_iter()
        .find(|transition| transition.arrow().0 == state && transition.arrow().1 == event);
    if let Some(transition) = numbered {
        return Ok(Move::Numbered(transition));
    }
    way_back(state, event, came_from).ok_or(NotNow { state, event })
}

fn way_back(state: State, event: Event, came_from: Option<State>) -> Option<Move> {
    Some(match (state, event) {
        (State::DegradingPrimary | State::DegradedUserAccess, Event::ConditionEnded) => {
            Move::Back(State::Normal)
        }
        (State::EngagingSecondary, Event::SwitchReverted) => {
            Move::Back(came_from.unwrap_or(State::DegradingPrimary))
        }
        (State::EngagingPrimary, Event::SwitchReverted) => Move::Back(State::ResyncPrimary),
        (State::ResyncPrimary, Event::PrimaryLost) => Move::Back(State::SecondaryEngaged),
        // A primary that fails while its users cannot reach it well has the graver trouble.
        (State::DegradedUserAccess, Event::PrimaryDegrades) => Move::Back(State::DegradingPrimary),
        // Freshly switched back, the primary can fail before the secondary is complete.
        (State::ResyncSecondary, Event::PrimaryDegrades) => Move::Back(State::DegradingPrimary),
        (State::DegradingPrimary, Event::PrimaryDegrades | Event::UserAccessDegrades)
        | (State::DegradedUserAccess, Event::UserAccessDegrades)
        | (State::Normal, Event::ConditionEnded)
        | (State::ResyncPrimary, Event::PrimaryReceives)
        | (State::SecondaryEngaged, Event::PrimaryLost)
        | (State::Normal, Event::SecondaryComplete) => Move::Stays,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_seventeen_states_and_transitions_each_with_its_number() {
        let mut numbers: Vec<u16> = State::ALL.iter().map(|state| state.number()).collect();
        numbers.extend(Transition::ALL.iter().map(|transition| transition.number()));
        numbers.sort_unstable();
        let even: Vec<u16> = (202..=234).step_by(2).collect();
        assert_eq!(numbers, even);
    }

    #[test]
    fn the_round_trip_takes_the_figures_way() {
        let way = [
            (Event::PrimaryDegrades, 204, 206),
            (Event::SwitchOver, 208, 210),
            (Event::SwitchDone, 212, 214),
            (Event::PrimaryReceives, 216, 218),
            (Event::SwitchBack, 220, 222),
            (Event::SwitchDone, 224, 226),
            (Event::SecondaryComplete, 228, 202),
            (Event::UserAccessDegrades, 230, 232),
            (Event::SwitchOver, 234, 210),
        ];
        let mut state = State::Normal;
        for (event, number, reached) in way {
            let moved = apply(state, event, None).expect("a transition of the figure");
            assert!(
                matches!(moved, Move::Numbered(t) if t.number() == number),
                "{moved:?}"
            );
            state = moved.target(state);
            assert_eq!(state.number(), reached);
        }
    }

    #[test]
    fn an_aborted_switch_over_returns_to_where_it_came_from() {
        for from in [State::DegradingPrimary, State::DegradedUserAccess] {
            let back = apply(State::EngagingSecondary, Event::SwitchReverted, Some(from));
            assert_eq!(back, Ok(Move::Back(from)));
        }
    }

    #[test]
    fn a_switch_asked_for_twice_is_refused_and_says_where_we_are() {
        for state in [
            State::EngagingSecondary,
            State::SecondaryEngaged,
            State::EngagingPrimary,
        ] {
            let refused = apply(state, Event::SwitchOver, None).expect_err("not now");
            assert!(refused.to_string().contains(&state.number().to_string()));
        }
    }

    #[test]
    fn nobody_serves_only_while_a_switch_is_under_way() {
        for state in State::ALL {
            assert_eq!(state.active().is_none(), state.data() == DataFlow::Turning);
        }
    }
}
