//! The last lines of a task in its supervisor's memory, for `logs=memory`.

use std::collections::VecDeque;

use super::Record;

/// Bytes kept. A screenful of stack traces, many times over; a node may have hundreds of tasks.
const BYTES_MAX: usize = 1 << 20;

/// The last records, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Ring {
    /// Keeps a record, at the price of the oldest ones.
    pub(crate) fn push(&mut self, record: Record) {
        self.bytes += record.cost();
        self.records.push_back(record);
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.records.pop_front() else {
                break;
            };
            self.bytes -= oldest.cost();
        }
    }

    /// Records from number `from` on, as many as cost at most `bytes_max`.
    pub(crate) fn read(&self, from: u64, bytes_max: usize) -> Vec<Record> {
        let start = self.records.partition_point(|record| record.number < from);
        let mut bytes = 0;
        let records = self.records.range(start..).take_while(|record| {
            bytes += record.cost();
            bytes <= bytes_max
        });
        records.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use proto::id::Timestamp;

    use super::*;
    use crate::output::Stream;

    #[test]
    fn the_ring_keeps_the_last_lines_within_its_bound() {
        let mut ring = Ring::default();
        for number in 0..2_000 {
            let line = vec![b'x'; 1_000];
            ring.push(Record { number, at: Timestamp(0), stream: Stream::Stdout, line });
        }
        assert!(ring.bytes <= BYTES_MAX && ring.bytes > BYTES_MAX - 2_000);
        let all = ring.read(0, usize::MAX);
        assert_eq!(all.len(), ring.records.len());
        assert_eq!(all.last().unwrap().number, 1_999);
        assert_eq!(ring.read(1_998, usize::MAX).len(), 2);
        assert_eq!(ring.read(2_000, usize::MAX), []);
        let bounded = ring.read(1_500, 3 * 1_032);
        assert_eq!(bounded.iter().map(|r| r.number).collect::<Vec<_>>(), [1_500, 1_501, 1_502]);
    }
}
