use std::path::PathBuf;

use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::LocalSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::*;

fn source(url: String) -> Jwks {
    Jwks { url, allow_http: false }
}

/// Reads a request and answers like that, and holds the connection for ever.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap().to_lowercase();
    let is_whole = request.starts_with("get /keys?of=a http/1.1\r\n") && request.contains("\r\nhost: ");
    assert!(is_whole, "{request}");
    // Who asked may have read enough.
    let _ = stream.write_all(answer).await;
    std::future::pending::<()>().await;
}

/// What a fetch comes to that is answered like that.
async fn fetched(response: Vec<u8>) -> Result<Bytes, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys?of=a", listener.local_addr().unwrap());
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, &response).await;
    };
    let fetching = async { fetch(&source(url), None).await.map_err(|error| error.to_string()) };
    LocalSet::new()
        .run_until(async {
            tokio::select! {
                result = fetching => result,
                () = serving => Err("the answer was not waited for".to_owned()),
            }
        })
        .await
}

#[tokio::test]
async fn an_answer_is_taken_as_it_is_and_whatever_is_none_is_named() {
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}";
    assert_eq!(fetched(whole.to_vec()).await.as_deref(), Ok(&b"{\"keys\":[]}"[..]));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert_eq!(fetched(chunked.to_vec()).await.as_deref(), Ok(&b"ok"[..]));
    let length = MAX_BYTES + 1;
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000);
    let far =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", "x".repeat(8_000));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(length));
    for (answer, words) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answers 404 Not Found"),
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "it answers 500"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
            "it redirects to \"http://elsewhere/\", which is not followed",
        ),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", "it answers 304 Not Modified"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "its answer broke off: "),
        (&long, "its answer is longer than 262144 bytes"),
        (&endless, "its answer is longer than 262144 bytes"),
        (&interim, "its answer broke off: "),
        (&far, "it redirects to \"http://xxxxx"),
    ] {
        let refused = fetched(answer.as_bytes().to_vec()).await.unwrap_err();
        assert!(refused.contains(words) && refused.len() < 400, "{}: {refused}", &answer[..20]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_end_is_waited_for_no_longer_than_ten_seconds() {
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
        let begin = tokio::time::Instant::now();
        let refused = fetched(answer.as_bytes().to_vec()).await.unwrap_err();
        assert_eq!(
            (refused.as_str(), begin.elapsed().as_secs()),
            ("no answer within 10 s", 10),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_reached_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = fetch(&source(format!("http://{closed}/keys")), None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("there is no connection to {closed}: ")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // A queue that is full swallows whatever comes then.
    let full = socket.listen(1).unwrap();
    let silent = full.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_secs(1), TcpStream::connect(silent)).await {
        queued.push(stream.unwrap());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answers = listener.local_addr().unwrap();
    let begin = tokio::time::Instant::now();
    let stream = connect([silent, answers]).await.unwrap();
    assert_eq!((stream.peer_addr().unwrap(), begin.elapsed().as_secs()), (answers, 3));
    let error = connect([silent]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop((full, queued, listener));
}

/// Two CAs and their files, of which the first has signed the certificate of `localhost` that is shown.
struct Certified {
    acceptor: TlsAcceptor,
    ca: PathBuf,
    other: PathBuf,
}

impl Certified {
    fn new(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let authority = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            let file: PathBuf = directory.join(name);
            std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
            (Issuer::new(params, key), file)
        };
        let ((issuer, ca), (_, other)) = (authority("ca"), authority("other"));
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap().pem();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca, other }
    }
}

fn directory(of: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mooring-jwks-{of}-{}", std::process::id()))
}

#[tokio::test]
async fn over_tls_the_certificate_has_to_be_of_a_ca_in_the_file_and_for_the_host() {
    let directory = directory("certificates");
    let Certified { acceptor, ca: file, other } = Certified::new(&directory);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust it goes away.
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    let get = async |host: &str, ca: Option<&Path>| {
        let result = fetch(&source(format!("https://{host}:{port}/keys?of=a")), ca).await;
        result.map_err(|error| error.to_string())
    };
    assert_eq!(get("localhost", Some(&file)).await.as_deref(), Ok(&b"ok"[..]));
    for stranger in [None, Some(&*other)] {
        let refused = get("localhost", stranger).await.unwrap_err();
        assert!(
            refused.contains("a CA that is unknown here; name the file with that CA by --jwks-ca-file"),
            "{refused}"
        );
    }
    let refused = get("127.0.0.1", Some(&file)).await.unwrap_err();
    assert!(refused.starts_with("TLS failed: "), "{refused}");
    let refused = get("localhost", Some(&directory.join("missing"))).await.unwrap_err();
    assert!(refused.starts_with("--jwks-ca-file: ") && refused.contains("cannot be read"), "{refused}");
    serving.abort();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_drips_over_tls_is_waited_for_no_longer_than_ten_seconds() {
    let directory = directory("drips");
    let Certified { acceptor, ca, .. } = Certified::new(&directory);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/keys?of=a", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await.unwrap();
        // Until nobody reads it any more.
        while stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let begin = tokio::time::Instant::now();
    let refused = fetch(&source(url), Some(&ca)).await.unwrap_err().to_string();
    assert_eq!((refused.as_str(), begin.elapsed().as_secs()), ("no answer within 10 s", 10));
    std::fs::remove_dir_all(&directory).unwrap();
}
