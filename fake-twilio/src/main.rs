//! The fake as a program: in compose it replaces `api.twilio.com`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use fake_twilio::{Account, Fake};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[derive(Parser)]
#[command(about = "A Twilio for tests")]
struct Arguments {
    #[arg(long, default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    #[arg(long, help = "The account's SID")]
    account: String,
    #[arg(long, help = "The account's auth token, which signs callbacks")]
    token: String,
    #[arg(
        long,
        requires = "key",
        help = "PEM file of the certificates; without one there is no TLS"
    )]
    certificate: Option<PathBuf>,
    #[arg(long, help = "PEM file of the private key")]
    key: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let tls = match (&arguments.certificate, &arguments.key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect)
                .context("read the certificates")?;
            let key = PrivateKeyDer::from_pem_file(key).context("read the key")?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .context("choose TLS versions")?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .context("use the certificate")?;
            Some(TlsAcceptor::from(Arc::new(config)))
        }
        _ => None,
    };
    let listener = TcpListener::bind(arguments.listen).await.context("listen")?;
    let account = Account { sid: arguments.account, auth_token: arguments.token };
    Fake::serve(listener, tls, account)?;
    println!("a fake Twilio on {}", arguments.listen);
    tokio::signal::ctrl_c().await.context("wait for the signal")
}
