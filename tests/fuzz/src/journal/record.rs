//! Fragments, records and operations.

use fletch_journal::record::{Assembler, Part, fragment_head, fragments, ops};
use fletch_journal::{Op, RecordError};

/// The input as a batch's body; as a record; and as a record that its first octets cut up.
pub fn journal_record(data: &[u8]) {
    let mut assembler = Assembler::new();
    let mut joined = 0;
    for fragment in fragments(data) {
        let Ok((part, content)) = fragment else { break };
        match assembler.join(part, content) {
            Ok(Some(record)) => {
                joined += record.len();
                operations(record);
            }
            Ok(None) => {}
            Err(error) => {
                assert_eq!(error, RecordError::Order);
                assembler.reset();
            }
        }
    }
    assert!(joined <= data.len(), "records hold more than their fragments");
    operations(data);
    cut(data);
}

/// What can be read can be written, and is the same then.
fn operations(record: &[u8]) {
    let mut len = 0;
    let mut failed = false;
    for op in ops(record) {
        assert!(!failed, "an error ends it");
        let Ok(op) = op else {
            failed = true;
            continue;
        };
        let mut out = Vec::new();
        op.put(&mut out);
        len += out.len();
        assert!(len <= record.len(), "an operation holds more than its octets");
        let mut again = ops(&out);
        assert_eq!(again.next(), Some(Ok(op)));
        assert_eq!(again.next(), None);
        if let Op::Publish { refs, .. } = op {
            assert!(!refs.is_empty() && refs.iter().len() == refs.len());
        }
    }
    assert!(failed || len == record.len(), "octets were passed over");
}

fn cut(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let count = usize::from(count % 8);
    let Some((cuts, record)) = rest.split_at_checked(count) else { return };
    let mut cuts: Vec<usize> =
        cuts.iter().map(|cut| usize::from(*cut) * record.len() / 255).collect();
    cuts.extend([0, record.len()]);
    cuts.sort_unstable();
    let mut body = Vec::new();
    for (n, cut) in cuts.windows(2).enumerate() {
        let part = Part::of(n == 0, n == count);
        body.extend_from_slice(&fragment_head(part, cut[1] - cut[0]));
        body.extend_from_slice(&record[cut[0]..cut[1]]);
    }
    let mut assembler = Assembler::new();
    let mut joined = None;
    for fragment in fragments(&body) {
        assert_eq!(joined, None, "the record ends with its last fragment");
        let (part, content) = fragment.expect("written so");
        joined = assembler.join(part, content).expect("in order").map(<[u8]>::to_vec);
    }
    assert_eq!(joined.as_deref(), Some(record));
    assert!(!assembler.is_open());
}
