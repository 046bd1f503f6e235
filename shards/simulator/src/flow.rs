//! What a subscription may be sent, as its client counts it: credit by what it granted, room by
//! what it gave back. Upper bounds that no order of frames may break.

use fletch_engine::queue::INFINITE;
use fletch_engine::{CreditUnit, FlowMode, ROOM_BYTES, ROOM_MESSAGES};
use std::collections::VecDeque;

/// Messages and bytes.
type Pair = [u64; 2];

/// See the module.
#[derive(Debug)]
pub(crate) struct Flow {
    mode: FlowMode,
    /// Granted since the start, and since each stop or flush that is not answered yet: what was
    /// granted after one was asked for counts after its answer.
    granted: VecDeque<Pair>,
    /// Received since the last answer; window mode: and not completed, whenever received.
    used: Pair,
    /// Window mode: an infinite grant was there, so the home counts less than this does.
    loose: [bool; 2],
    /// Sent by the home.
    emitted: Pair,
    /// Given back to it.
    given: Pair,
    /// Received and not given back.
    pub(crate) owed: (u32, u64),
}

impl Flow {
    pub(crate) fn new(mode: FlowMode) -> Flow {
        Flow {
            mode,
            granted: VecDeque::from([[0, 0]]),
            used: [0, 0],
            loose: [false, false],
            emitted: [0, 0],
            given: [0, 0],
            owed: (0, 0),
        }
    }

    pub(crate) fn grant(&mut self, unit: CreditUnit, value: u32) {
        let at = usize::from(unit == CreditUnit::Bytes);
        if let Some(granted) = self.granted.back_mut() {
            let infinite = value == INFINITE || granted[at] == u64::MAX;
            granted[at] = if infinite { u64::MAX } else { granted[at] + u64::from(value) };
            self.loose[at] |= infinite && self.mode == FlowMode::Window;
        }
    }

    /// A stop or flush is asked for.
    pub(crate) fn clears(&mut self) {
        self.granted.push_back([0, 0]);
    }

    /// It was answered.
    pub(crate) fn cleared(&mut self) {
        self.granted.pop_front();
        assert!(!self.granted.is_empty(), "more stops and flushes answered than asked for");
        if self.mode == FlowMode::Credit {
            self.used = [0, 0];
        }
    }

    /// The home sends a message.
    pub(crate) fn emitted(&mut self, size: u64) {
        let under_way = [self.emitted[0] - self.given[0], self.emitted[1] - self.given[1]];
        assert!(under_way[0] < u64::from(ROOM_MESSAGES), "room for messages exceeded");
        assert!(under_way[1] < ROOM_BYTES, "room for bytes exceeded");
        self.emitted[0] += 1;
        self.emitted[1] += size;
    }

    /// The client has received it.
    pub(crate) fn received(&mut self, size: u64) {
        self.owed.0 += 1;
        self.owed.1 += size;
        let granted = self.granted[0];
        for (at, n) in [1, size].into_iter().enumerate() {
            self.used[at] += n;
            let within = granted[at] == u64::MAX
                || (self.loose[at] && granted[at] > 0)
                || (self.used[at] <= granted[at] && granted[at] > 0);
            assert!(within, "credit exceeded: unit {at}, used {}, {granted:?}", self.used[at]);
        }
    }

    /// The client completes deliveries.
    pub(crate) fn moved(&mut self, messages: u32, bytes: u64) {
        self.used[0] -= u64::from(messages);
        self.used[1] -= bytes;
    }

    /// The client gives room back: all it owes, or a part.
    pub(crate) fn give(&mut self, all: bool) -> (u32, u64) {
        let (messages, bytes) = self.owed;
        let part = if all { (messages, bytes) } else { (messages / 2, bytes / 2) };
        self.owed = (messages - part.0, bytes - part.1);
        self.given[0] += u64::from(part.0);
        self.given[1] += part.1;
        part
    }

    /// Whether the room is used up.
    pub(crate) fn is_full(&self) -> bool {
        self.emitted[0] - self.given[0] >= u64::from(ROOM_MESSAGES)
            || self.emitted[1] - self.given[1] >= ROOM_BYTES
    }

    /// Whether a message of any size could be sent, for sure. When nothing is under way.
    pub(crate) fn is_open(&self) -> bool {
        let under_way = [self.emitted[0] - self.given[0], self.emitted[1] - self.given[1]];
        let granted = self.granted[0];
        self.granted.len() == 1
            && under_way[0] < u64::from(ROOM_MESSAGES)
            && under_way[1] < ROOM_BYTES
            && (granted[0] == u64::MAX || self.used[0] < granted[0])
            && granted[1] == u64::MAX
    }
}
