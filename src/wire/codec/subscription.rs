//! What members of classic consumer groups tell each other (`ConsumerProtocolSubscription.json`).

/// The topics of a subscription. Versions only ever add fields behind them. Empty where the bytes
/// are no subscription.
pub fn topics(bytes: &[u8]) -> Vec<&str> {
    read(bytes).unwrap_or_default()
}

fn read(bytes: &[u8]) -> Option<Vec<&str>> {
    let (count, mut rest) = bytes.get(2..)?.split_first_chunk::<4>()?;
    let mut topics = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (len, behind) = rest.split_first_chunk::<2>()?;
        let (topic, behind) = behind.split_at_checked(usize::try_from(i16::from_be_bytes(*len)).ok()?)?;
        topics.push(std::str::from_utf8(topic).ok()?);
        rest = behind;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::ConsumerProtocolSubscription;
    use kafka_protocol::protocol::{Encodable, StrBytes};

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
}
