//! What members of classic consumer groups are assigned (`ConsumerProtocolAssignment.json`, 0-3).

/// The topics of an assignment, each with its partitions. No bytes are an assignment of nothing.
/// Versions only ever add fields behind the known ones. `None`: the bytes are no assignment.
pub fn partitions(bytes: &[u8]) -> Option<Vec<(&str, Vec<i32>)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let (version, rest) = bytes.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut topics = Vec::new();
    // A count that lies runs out of bytes: each topic takes six of them.
    for _ in 0..usize::try_from(i32::from_be_bytes(*count)).ok()? {
        let (len, behind) = rest.split_first_chunk::<2>()?;
        let (topic, behind) = behind.split_at_checked(usize::try_from(i16::from_be_bytes(*len)).ok()?)?;
        let (count, behind) = behind.split_first_chunk::<4>()?;
        let size = usize::try_from(i32::from_be_bytes(*count)).ok()?.checked_mul(4)?;
        let (partitions, behind) = behind.split_at_checked(size)?;
        let (partitions, _) = partitions.as_chunks::<4>();
        topics.push((std::str::from_utf8(topic).ok()?, partitions.iter().map(|p| i32::from_be_bytes(*p)).collect()));
        rest = behind;
    }
    // The assignor's own bytes say nothing here, but a cut must show.
    let (user_data, rest) = rest.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*user_data) {
        -1 => {}
        len => drop(rest.get(..usize::try_from(len).ok()?)?),
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
    use kafka_protocol::messages::{ConsumerProtocolAssignment, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    use super::*;

    fn written(version: i16, user_data: Option<&'static [u8]>) -> Vec<u8> {
        let topic = |name, partitions: &[i32]| {
            TopicPartition::default()
                .with_topic(TopicName(StrBytes::from_static_str(name)))
                .with_partitions(partitions.to_vec())
        };
        let message = ConsumerProtocolAssignment::default()
            .with_assigned_partitions(vec![topic("orders", &[0, 2, 7]), topic("payments", &[])])
            .with_user_data(user_data.map(Bytes::from_static));
        let mut out = BytesMut::new();
        out.extend_from_slice(&version.to_be_bytes());
        message.encode(&mut out, version.clamp(0, 3)).unwrap();
        out.to_vec()
    }

    #[test]
    fn reads_every_version_and_nothing_of_what_is_cut() {
        for (version, user_data) in [(0, None), (1, Some(&b"abc"[..])), (2, Some(&b""[..])), (3, None), (9, None)] {
            let mut bytes = written(version, user_data);
            let expected = Some(vec![("orders", vec![0, 2, 7]), ("payments", vec![])]);
            assert_eq!(partitions(&bytes), expected);
            for cut in 1..bytes.len() {
                assert_eq!(partitions(&bytes[..cut]), None, "{version} cut at {cut}");
            }
            bytes.extend(b"of a newer version");
            assert_eq!(partitions(&bytes), expected);
        }
        assert_eq!(partitions(&[]), Some(vec![]));
        assert_eq!(partitions(&written(-1, None)), None);
    }

    #[test]
    fn counts_that_lie_are_no_assignment() {
        let topics = [0, 1, 0x7f, 0xff, 0xff, 0xff];
        let partitions_of_one = [0, 1, 0, 0, 0, 1, 0, 1, b'a', 0x7f, 0xff, 0xff, 0xff];
        for lie in [&topics[..], &partitions_of_one] {
            assert_eq!(partitions(&[lie, &[0; 40]].concat()), None);
        }
        assert_eq!(partitions(&[0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_end_in_a_verdict_no_larger_than_themselves(
            junk in proptest::collection::vec(any::<u8>(), 0..80),
            at in any::<proptest::sample::Index>(),
            by in any::<u8>(),
        ) {
            let mut mutated = written(1, Some(b"xyz"));
            let at = at.index(mutated.len());
            mutated[at] = by;
            for bytes in [&junk, &mutated] {
                let found = partitions(bytes).unwrap_or_default();
                let size: usize = found.iter().map(|(topic, p)| 6 + topic.len() + 4 * p.len()).sum();
                prop_assert!(size <= bytes.len());
            }
        }
    }
}
