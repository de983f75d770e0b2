//! What members of classic consumer groups tell each other (`ConsumerProtocolSubscription.json`).

/// The topics of a subscription. Versions only ever add fields behind them. Empty where the bytes
/// are no subscription.
pub fn topics(bytes: &[u8]) -> Vec<&str> {
    read(bytes).unwrap_or_default()
}

/// What a member says that it still owns (versions 1 and newer): topics with their partitions, at
/// most `room` of both together. `None`: it does not say, says more, or the bytes are no subscription.
pub fn owned(bytes: &[u8], room: usize) -> Option<Vec<(&str, Vec<i32>)>> {
    let (version, rest) = bytes.split_first_chunk::<2>()?;
    let version = i16::from_be_bytes(*version);
    if version < 1 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    for _ in 0..i32::from_be_bytes(*count) {
        rest = text(rest)?.1;
    }
    let (user_data, behind) = rest.split_first_chunk::<4>()?;
    rest = match i32::from_be_bytes(*user_data) {
        -1 => behind,
        len => behind.get(usize::try_from(len).ok()?..)?,
    };
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    let (mut topics, mut room) = (Vec::new(), room.checked_sub(count)?);
    for _ in 0..count {
        let (topic, behind) = text(rest)?;
        let (count, behind) = behind.split_first_chunk::<4>()?;
        let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
        room = room.checked_sub(count)?;
        let (partitions, behind) = behind.split_at_checked(count.checked_mul(4)?)?;
        let (partitions, _) = partitions.as_chunks::<4>();
        topics.push((topic, partitions.iter().map(|p| i32::from_be_bytes(*p)).collect()));
        rest = behind;
    }
    // Behind them stand the generation (2+) and the rack (3+): a cut must show.
    if version >= 2 {
        rest = rest.split_first_chunk::<4>()?.1;
    }
    if version >= 3 {
        let (rack, behind) = rest.split_first_chunk::<2>()?;
        match i16::from_be_bytes(*rack) {
            -1 => {}
            len => drop(behind.get(..usize::try_from(len).ok()?)?),
        }
    }
    Some(topics)
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, behind) = bytes.split_first_chunk::<2>()?;
    let (text, behind) = behind.split_at_checked(usize::try_from(i16::from_be_bytes(*len)).ok()?)?;
    Some((std::str::from_utf8(text).ok()?, behind))
}

fn read(bytes: &[u8]) -> Option<Vec<&str>> {
    let (count, mut rest) = bytes.get(2..)?.split_first_chunk::<4>()?;
    let mut topics = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (topic, behind) = text(rest)?;
        topics.push(topic);
        rest = behind;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition;
    use kafka_protocol::messages::{ConsumerProtocolSubscription, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_topics_of_every_version_and_nothing_of_what_is_cut() {
        for version in 0..=3i16 {
            let names = ["orders", "payments"].map(StrBytes::from_static_str).to_vec();
            let mut out = BytesMut::new();
            out.extend_from_slice(&version.to_be_bytes());
            let message = ConsumerProtocolSubscription::default().with_topics(names);
            message.encode(&mut out, version).unwrap();
            assert_eq!(topics(&out), ["orders", "payments"]);
            assert!((0..22).all(|cut| topics(&out[..cut]).is_empty()));
        }
        assert!(topics(&[0, 1, 0x7f, 0xff, 0xff, 0xff]).is_empty());
    }

    fn saying(version: i16, user_data: Option<&'static [u8]>) -> Vec<u8> {
        let topic = |name, partitions: &[i32]| {
            TopicPartition::default()
                .with_topic(TopicName(StrBytes::from_static_str(name)))
                .with_partitions(partitions.to_vec())
        };
        let mut message = ConsumerProtocolSubscription::default()
            .with_topics(vec![StrBytes::from_static_str("orders")])
            .with_user_data(user_data.map(Bytes::from_static));
        if version >= 1 {
            message = message.with_owned_partitions(vec![topic("orders", &[0, 2, 7]), topic("payments", &[])]);
        }
        if version >= 2 {
            message = message.with_generation_id(5);
        }
        if version >= 3 {
            message = message.with_rack_id(user_data.map(|_| StrBytes::from_static_str("rack")));
        }
        let mut out = BytesMut::new();
        out.extend_from_slice(&version.to_be_bytes());
        message.encode(&mut out, version.min(3)).unwrap();
        out.to_vec()
    }

    #[test]
    fn reads_what_is_owned_in_every_version_and_nothing_of_what_is_cut() {
        for user_data in [None, Some(&b"abc"[..])] {
            assert_eq!(owned(&saying(0, user_data), 100), None);
            for version in [1, 2, 3, 9] {
                let mut bytes = saying(version, user_data);
                let expected = Some(vec![("orders", vec![0, 2, 7]), ("payments", vec![])]);
                assert_eq!(owned(&bytes, 5), expected, "{version}");
                assert_eq!(owned(&bytes, 4), None, "more than there is room for");
                for cut in 0..bytes.len() {
                    assert_eq!(owned(&bytes[..cut], 100), None, "{version} cut at {cut}");
                }
                bytes.extend(b"of a newer version");
                assert_eq!(owned(&bytes, 5), expected);
            }
        }
    }

    #[test]
    fn counts_that_lie_own_nothing() {
        let (huge, few) = ([0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 1]);
        let head = [0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        let topics = [&head[..], &huge, &[0; 40]].concat();
        let partitions = [&head[..], &few, &[0, 1, b'a'], &huge, &[0; 40]].concat();
        let negative = [&head[..], &few, &[0, 1, b'a'], &[0xff; 4], &[0; 40]].concat();
        let subscribed = [&[0, 1][..], &huge, &[0; 40]].concat();
        let user_data = [&[0, 1, 0, 0, 0, 0][..], &huge, &[0; 40]].concat();
        for lie in [topics, partitions, negative, subscribed, user_data] {
            assert_eq!(owned(&lie, usize::MAX), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_own_no_more_than_they_are(
            junk in proptest::collection::vec(any::<u8>(), 0..80),
            at in any::<proptest::sample::Index>(),
            by in any::<u8>(),
        ) {
            let mut mutated = saying(3, Some(b"xyz"));
            let at = at.index(mutated.len());
            mutated[at] = by;
            for bytes in [&junk, &mutated] {
                let found = owned(bytes, usize::MAX).unwrap_or_default();
                let size: usize = found.iter().map(|(topic, p)| 6 + topic.len() + 4 * p.len()).sum();
                prop_assert!(size <= bytes.len());
            }
        }
    }
}
