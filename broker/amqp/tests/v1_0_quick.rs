//! Transfers and dispositions read and written by hand against the table, which knows every form.

use fletch_amqp::v1_0::table::{Accepted, DeliveryState, Disposition, Rejected, Transfer};
use fletch_amqp::v1_0::{Composite, ReceiverSettleMode, Role, SequenceNo, quick};
use fletch_amqp::wire::Reader;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn uint() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1..300u32, any::<u32>()]
}

fn state() -> impl Strategy<Value = Option<DeliveryState<'static>>> {
    prop_oneof![
        4 => Just(None),
        4 => Just(Some(Accepted {}.into())),
        1 => Just(Some(Rejected { error: None }.into())),
    ]
}

prop_compose! {
    fn numbers()(
        handle in uint(), id in of(uint()), format in of(uint()), settled in of(any::<bool>()),
        more in any::<bool>(),
    ) -> Transfer<'static> {
        let delivery_id = id.map(SequenceNo);
        let message_format = format;
        Transfer { handle, delivery_id, message_format, settled, more, ..Transfer::default() }
    }
}

proptest! {
    #[test]
    fn a_transfer_is_the_same_by_hand_and_by_the_table(
        numbers in numbers(), rare in 0..8u8, state in state(), payload in vec(any::<u8>(), 0..9),
        tag in of(vec(any::<u8>(), 0..40)), flags in any::<[bool; 3]>(),
    ) {
        let mut transfer = Transfer { delivery_tag: tag.as_deref(), ..numbers };
        if rare == 0 {
            [transfer.resume, transfer.aborted, transfer.batchable] = flags;
        }
        if rare == 1 {
            (transfer.state, transfer.rcv_settle_mode) = (state, Some(ReceiverSettleMode::SECOND));
        }
        let (mut table, mut hand) = (Vec::new(), Vec::new());
        transfer.encode(&mut table).expect("short");
        match quick::put_transfer(&transfer, &mut hand) {
            true => prop_assert_eq!(&hand, &table),
            false => prop_assert!(hand.is_empty()),
        }
        let usual = transfer.rcv_settle_mode.is_none();
        table.extend_from_slice(&payload);
        let read = quick::read_transfer(&table);
        prop_assert_eq!(read, usual.then_some((transfer, &payload[..])));
    }

    #[test]
    fn a_disposition_is_the_same_by_hand_and_by_the_table(
        role in any::<bool>(), first in uint(), last in of(uint()), settled in any::<bool>(),
        state in state(), batchable in any::<bool>(),
    ) {
        let usual = !matches!(state, Some(DeliveryState::Rejected(_)));
        let (first, last) = (SequenceNo(first), last.map(SequenceNo));
        let disposition = Disposition { role: Role(role), first, last, settled, state, batchable };
        let mut table = Vec::new();
        disposition.encode(&mut table).expect("short");
        prop_assert_eq!(quick::read_disposition(&table), usual.then_some(disposition));
    }

    /// Whatever is changed in it: by hand it is read as by the table, or not at all.
    #[test]
    fn what_is_malformed_is_left_to_the_table(
        numbers in numbers(), tag in vec(any::<u8>(), 0..6), at in any::<prop::sample::Index>(),
        octet in prop_oneof![any::<u8>(), 0x40..=0x45u8, Just(0x52), Just(0x70), Just(0xa0)],
        disposes in any::<bool>(),
    ) {
        let mut encoded = Vec::new();
        if disposes {
            let (first, state) = (SequenceNo(numbers.handle), Some(Accepted {}.into()));
            let disposition = Disposition { first, state, ..Disposition::default() };
            disposition.encode(&mut encoded).expect("short");
        } else {
            let transfer = Transfer { delivery_tag: Some(&tag), ..numbers };
            transfer.encode(&mut encoded).expect("short");
        }
        let at = at.index(encoded.len());
        encoded[at] = octet;
        let mut reader = Reader::new(&encoded);
        if let Some((transfer, payload)) = quick::read_transfer(&encoded) {
            prop_assert_eq!(Transfer::decode(&mut reader), Ok(transfer));
            prop_assert_eq!(reader.rest(), payload);
        } else if let Some(disposition) = quick::read_disposition(&encoded) {
            prop_assert_eq!(Disposition::decode(&mut reader), Ok(disposition));
            prop_assert!(reader.is_empty());
        }
    }
}
