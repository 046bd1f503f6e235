//! What a subscription may still be sent: the client's credit, and the room on the way to it.

/// How credit is used up and comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowMode {
    /// Every delivery uses credit up; only a grant brings more.
    Credit,
    /// Deliveries that are not completed fill a window as wide as what was granted.
    #[default]
    Window,
}

/// What a grant counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditUnit {
    /// Messages.
    Messages,
    /// Bytes of header segment and body.
    Bytes,
}

/// A grant of this much never runs out.
pub const INFINITE: u32 = u32::MAX;

/// Deliveries of one subscription that may be between the queue's shard and the socket. Enough to
/// keep a consumer on another shard busy for the turns it takes to hear that there is room again
/// (some ten microseconds), few enough that competing consumers share a burst.
pub const ROOM_MESSAGES: u32 = 256;

/// The same in bytes: bounds the memory a peer that does not read can hold on to, per
/// subscription, to this and one message. A megabyte is more than a socket buffer takes at once.
pub const ROOM_BYTES: u64 = 1 << 20;

/// `a + b`, where [`INFINITE`] absorbs and nothing else becomes infinite by adding up.
pub(super) fn add(a: u32, b: u32) -> u32 {
    if a == INFINITE || b == INFINITE { INFINITE } else { a.saturating_add(b).min(INFINITE - 1) }
}

/// Credit in one unit.
#[derive(Clone, Copy, Debug, Default)]
struct Balance {
    granted: u32,
    /// Window mode only: delivered and not completed. Not counted while the grant is infinite.
    used: u32,
}

impl Balance {
    fn left(self, mode: FlowMode) -> u32 {
        match mode {
            _ if self.granted == INFINITE => INFINITE,
            FlowMode::Credit => self.granted,
            FlowMode::Window => self.granted.saturating_sub(self.used),
        }
    }

    fn take(&mut self, mode: FlowMode, n: u32) {
        match mode {
            _ if self.granted == INFINITE => {}
            FlowMode::Credit => self.granted = self.granted.saturating_sub(n),
            FlowMode::Window => self.used = self.used.saturating_add(n),
        }
    }
}

/// What the client has granted. Both units are needed for a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credit {
    mode: FlowMode,
    messages: Balance,
    bytes: Balance,
}

impl Credit {
    pub(super) fn grant(&mut self, unit: CreditUnit, value: u32) {
        let balance = match unit {
            CreditUnit::Messages => &mut self.messages,
            CreditUnit::Bytes => &mut self.bytes,
        };
        balance.granted = add(balance.granted, value);
    }

    /// Drops what was granted. Deliveries not completed still count against the next window.
    pub(super) fn clear(&mut self) {
        self.messages.granted = 0;
        self.bytes.granted = 0;
    }

    /// Another mode starts without credit; naming the present one changes nothing.
    pub(super) fn set_mode(&mut self, mode: FlowMode) {
        if mode != self.mode {
            self.mode = mode;
            self.clear();
            // What was delivered in a window before is not counted again.
            self.messages.used = 0;
            self.bytes.used = 0;
        }
    }

    /// Whether anything at all may be delivered.
    pub(super) fn any(&self) -> bool {
        self.allows(1)
    }

    /// Whether one message of `size` bytes may be delivered.
    pub(super) fn allows(&self, size: u32) -> bool {
        self.messages.left(self.mode) >= 1 && self.bytes.left(self.mode) >= size.max(1)
    }

    /// Whether that does not depend on its size.
    pub(super) fn is_any_size(&self) -> bool {
        self.bytes_left() == super::INFINITE
    }

    pub(super) fn bytes_left(&self) -> u32 {
        self.bytes.left(self.mode)
    }

    /// One message of `size` bytes is delivered.
    pub(super) fn take(&mut self, size: u32) {
        self.messages.take(self.mode, 1);
        self.bytes.take(self.mode, size);
    }

    /// Deliveries are complete. Those made in credit mode or under an infinite grant were not
    /// counted, so more may come back than was taken.
    pub(super) fn moved(&mut self, messages: u32, bytes: u64) {
        if self.mode == FlowMode::Window {
            self.messages.used = self.messages.used.saturating_sub(messages);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.bytes.used = self.bytes.used.saturating_sub(bytes);
        }
    }
}

/// Room on the way to the connection. Bytes may go below zero by one message, so that a message
/// larger than all the room still passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    messages: i64,
    bytes: i64,
}

impl Room {
    pub(super) fn new() -> Room {
        Room { messages: i64::from(ROOM_MESSAGES), bytes: ROOM_BYTES as i64 }
    }

    pub(super) fn open(self) -> bool {
        self.messages > 0 && self.bytes > 0
    }

    pub(super) fn take(&mut self, size: u32) {
        self.messages -= 1;
        self.bytes -= i64::from(size);
    }

    /// The connection has passed on this much of what it was sent.
    pub(super) fn give(&mut self, messages: u32, bytes: u64) {
        self.messages += i64::from(messages);
        self.bytes = self.bytes.saturating_add_unsigned(bytes);
        debug_assert!(
            self.messages <= i64::from(ROOM_MESSAGES) && self.bytes <= ROOM_BYTES as i64,
            "more room came back than was taken: {self:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(mode: FlowMode, messages: u32, bytes: u32) -> Credit {
        let mut credit = Credit { mode, ..Credit::default() };
        credit.grant(CreditUnit::Messages, messages);
        credit.grant(CreditUnit::Bytes, bytes);
        credit
    }

    #[test]
    fn both_units_are_needed() {
        assert!(!credit(FlowMode::Credit, 1, 0).any());
        assert!(!credit(FlowMode::Credit, 0, INFINITE).any());
        assert!(credit(FlowMode::Credit, 1, 10).allows(10));
        assert!(!credit(FlowMode::Credit, 1, 10).allows(11));
        assert!(!credit(FlowMode::Credit, 1, 0).allows(0), "an empty message needs byte credit");
    }

    #[test]
    fn grants_add_up_but_never_to_infinity() {
        assert_eq!(add(1, 2), 3);
        assert_eq!(add(INFINITE - 1, 7), INFINITE - 1);
        assert_eq!(add(INFINITE, 7), INFINITE);
        assert_eq!(add(7, INFINITE), INFINITE);
    }

    #[test]
    fn credit_is_used_up_and_infinite_credit_is_not() {
        let mut c = credit(FlowMode::Credit, 2, INFINITE);
        c.take(100);
        assert!(c.any());
        c.take(100);
        assert!(!c.any());
        c.moved(2, 200);
        assert!(!c.any(), "completion brings nothing back in credit mode");
    }

    #[test]
    fn a_window_moves_with_completion() {
        let mut c = credit(FlowMode::Window, 2, 100);
        c.take(60);
        assert!(c.allows(40) && !c.allows(41));
        c.take(40);
        assert!(!c.any());
        c.moved(1, 60);
        assert!(c.allows(60) && !c.allows(61));
        c.clear();
        assert!(!c.any());
        c.grant(CreditUnit::Messages, 1);
        c.grant(CreditUnit::Bytes, INFINITE);
        assert!(!c.any(), "the delivery not completed fills the new window");
        c.moved(1, 40);
        assert!(c.any());
        c.moved(5, 40);
        c.take(1);
        assert!(!c.any(), "returning too much does not widen the window");
    }

    #[test]
    fn another_mode_starts_without_credit() {
        let mut c = credit(FlowMode::Window, 2, INFINITE);
        c.set_mode(FlowMode::Window);
        assert!(c.any());
        c.set_mode(FlowMode::Credit);
        assert!(!c.any());
    }

    #[test]
    fn one_message_may_exceed_the_room() {
        let mut room = Room::new();
        room.take(u32::MAX);
        assert!(!room.open());
        room.give(0, u64::from(u32::MAX) - ROOM_BYTES);
        assert!(!room.open());
        room.give(1, ROOM_BYTES);
        assert!(room.open());
    }
}
