//! Against a broker of a few lines.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the broker does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Open,
    WantsLogin,
    /// The same, and says how.
    Kerberos,
    SpeaksTls,
    Rubbish,
}

async fn broker(manner: Manner) -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = HostPort::from(listener.local_addr().unwrap());
    let own = address.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, manner, own.clone()));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, manner: Manner, own: HostPort) {
    loop {
        let Ok(length) = stream.read_i32().await else {
            return;
        };
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.unwrap();
        let mut body = request[4..8].to_vec();
        match (manner, request[1]) {
            (Manner::SpeaksTls, _) => {
                stream.write_all(&[0x15, 3, 3, 0, 2, 2, 22]).await.unwrap();
                return;
            }
            (Manner::Rubbish, _) => {
                stream.write_all(b"HTTP/1.1 400 Bad\r\n").await.unwrap();
                return;
            }
            (_, 18) => {
                body.extend([0, 0, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
            }
            (Manner::Kerberos, 17) => body.extend(b"\0\x21\0\0\0\x02\0\x05PLAIN\0\x06GSSAPI"),
            (Manner::WantsLogin | Manner::Kerberos, _) => return,
            _ => {
                body.extend(1_i32.to_be_bytes());
                body.extend(7_i32.to_be_bytes());
                body.extend((own.host.len() as i16).to_be_bytes());
                body.extend(own.host.as_bytes());
                body.extend(i32::from(own.port).to_be_bytes());
                body.extend([0xff, 0xff, 0, 0, 0, 7, 0, 0, 0, 0]);
            }
        }
        stream.write_i32(body.len() as i32).await.unwrap();
        stream.write_all(&body).await.unwrap();
    }
}

async fn rows(address: &HostPort) -> String {
    let mut config = Config::default();
    config.upstream.bootstrap = vec![address.clone()];
    let dialer = Dialer::new(&config).unwrap();
    let text = table(&probe_all(&config, &dialer).await);
    text.replace(&address.to_string(), "ADDRESS")
}

#[tokio::test]
async fn every_broker_is_tried() {
    let address = broker(Manner::Open).await;
    assert_eq!(
        rows(&address).await,
        "ok      bootstrap  ADDRESS  1 APIs at ADDRESS\n\
         ok      broker 7   ADDRESS  1 APIs at ADDRESS\n"
    );
}

#[tokio::test]
async fn a_login_is_not_a_failure() {
    let address = broker(Manner::WantsLogin).await;
    assert_eq!(
        rows(&address).await,
        "ok      bootstrap  ADDRESS  1 APIs at ADDRESS\n\
         ok      metadata   ADDRESS  not without a login: the brokers behind were not tried\n"
    );
}

#[tokio::test]
async fn the_ways_to_log_in_are_told() {
    let address = broker(Manner::Kerberos).await;
    assert!(rows(&address).await.ends_with(
        "ok      login      ADDRESS  PLAIN, GSSAPI; GSSAPI works through kmend only where clients dial the brokers' own \
         names (docs/sasl.md)\n"
    ));
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let address = broker(Manner::SpeaksTls).await;
    assert_eq!(
        rows(&address).await,
        "FAILED  bootstrap  ADDRESS  connected, but it speaks TLS: set upstream.tls.enabled: true\n"
    );
    let address = broker(Manner::Rubbish).await;
    assert_eq!(
        rows(&address).await,
        "FAILED  bootstrap  ADDRESS  connected, but the answer is not Kafka's: is this a broker?\n"
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = HostPort::from(listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(rows(&address).await, "FAILED  bootstrap  ADDRESS  no connection: Connection refused (os error 111)\n");
}
