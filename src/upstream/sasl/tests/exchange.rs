//! What a broker's tokens may do: no more than fail the login.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::config::sasl::SaslMechanism;
use crate::upstream::sasl::exchange::Exchange;
use crate::upstream::sasl::{LoginError, Secret};

const SCRAM: [SaslMechanism; 2] = [SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];

fn begun(mechanism: SaslMechanism) -> (Exchange, String) {
    let password = Zeroizing::new("pencil".to_owned());
    let mut exchange = Exchange::new(mechanism, Secret::Password { username: "us,er".into(), password }).unwrap();
    let first = String::from_utf8(exchange.step(None).unwrap().to_vec()).unwrap();
    (exchange, first)
}

/// The nonce of a client's first message. It is random, and may hold an `r=` of its own.
fn nonce(first: &str) -> &str {
    first.split_once(",r=").unwrap().1
}

/// A server's first message for this client's.
fn server_first(first: &str, iterations: &str) -> String {
    let nonce = nonce(first);
    format!("r={nonce}server,s={},i={iterations}", STANDARD.encode("some salt"))
}

#[test]
fn the_first_message_names_the_user_and_binds_no_channel() {
    for mechanism in SCRAM {
        let (_, first) = begun(mechanism);
        // RFC 5802: a comma in a name is escaped.
        assert!(first.starts_with("n,,n=us=2Cer,r="), "{first}");
        let own = nonce(&first);
        assert!(own.len() >= 18 && own != nonce(&begun(mechanism).1), "{first}");
    }
}

#[test]
fn what_a_false_broker_says_first_ends_it() {
    for mechanism in SCRAM {
        for iterations in ["4095", "1", "0", "100001", "4294967295", "4294967296", "-1", "x", ""] {
            let (mut exchange, first) = begun(mechanism);
            let answer = exchange.step(Some(server_first(&first, iterations).as_bytes()));
            assert!(answer.is_err(), "{iterations}");
        }
        for message in ["", "r=", "r=x,s=,i=4096", "s=x", "e=other-error", "r=x,s=x,i=4096", "\u{e9},,", "r", "r=,s"] {
            assert!(begun(mechanism).0.step(Some(message.as_bytes())).is_err(), "{message}");
        }
        assert!(begun(mechanism).0.step(Some(&[0xff, 0xfe])).is_err());
    }
}

#[test]
fn a_broker_that_does_not_know_the_password_is_found_out() {
    for mechanism in SCRAM {
        let (mut exchange, first) = begun(mechanism);
        let proof = exchange.step(Some(server_first(&first, "4096").as_bytes())).unwrap();
        assert!(proof.starts_with(b"c=biws,r="));
        let forged = format!("v={}", STANDARD.encode([7; 32]));
        assert!(matches!(exchange.finish(forged.as_bytes()), Err(LoginError::Exchange(_))));
        // Before its turn.
        let (mut exchange, _) = begun(mechanism);
        assert!(exchange.finish(b"").is_err());
        for last in ["", "v=", "v=!", "e=invalid-proof", "x"] {
            let (mut exchange, first) = begun(mechanism);
            exchange.step(Some(server_first(&first, "4096").as_bytes())).unwrap();
            assert!(exchange.finish(last.as_bytes()).is_err(), "{last}");
        }
    }
}
