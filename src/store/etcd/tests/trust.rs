//! Who may ask an etcd, and which etcd is believed.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::{Server, put};
use crate::config::{self, ClientTls, SecretRef};
use crate::store::engine::Engine as _;
use crate::store::etcd::{Etcd, Settings};
use crate::store::testing;

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

/// Writes `<name>.pem` and `<name>.key`, good for either end of a connection.
fn certify(issuer: &Issuer<'static, KeyPair>, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let written = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    fs::write(&written.0, params.signed_by(&key, issuer).unwrap().pem()).unwrap();
    fs::write(&written.1, key.serialize_pem()).unwrap();
    written
}

fn settings(endpoint: &str, tls: Option<ClientTls>, user: Option<(String, SecretRef)>) -> Settings {
    let endpoints = vec![endpoint.to_owned()];
    Settings::read(&config::Etcd { endpoints, prefix: "/w/".to_owned(), user, tls }).unwrap()
}

#[tokio::test]
async fn over_tls_only_the_right_etcd_is_believed_and_only_known_clients_may_ask() {
    let directory = testing::directory();
    let at = |name: &str| directory.path().join(name);
    let (pem, issuer) = authority();
    fs::write(at("ca.pem"), pem).unwrap();
    let (other_pem, other) = authority();
    fs::write(at("other.pem"), other_pem).unwrap();
    let (certificate, key) = certify(&issuer, directory.path(), "server");
    let client = certify(&issuer, directory.path(), "client");
    let stranger = certify(&other, directory.path(), "stranger");
    let trust = |ca: &str, client: Option<&(PathBuf, PathBuf)>| {
        Some(ClientTls { ca: Some(at(ca)), server_name: None, client: client.cloned() })
    };
    let text = |path: &Path| path.display().to_string();
    let (certificate, key, ca) = (text(&certificate), text(&key), text(&at("ca.pem")));
    let options = ["--cert-file", &certificate, "--key-file", &key, "--client-cert-auth", "--trusted-ca-file", &ca];
    let good = settings("https://127.0.0.1:1", trust("ca.pem", Some(&client)), None);
    let server = Server::start_with("https", options.map(str::to_owned).to_vec(), good).await;

    let engine = server.connect("/w/").await;
    let revision = engine.commit(put("over TLS")).await.unwrap();
    assert_eq!(engine.read("n").await.unwrap().unwrap().revision, revision);
    for (tls, what) in [
        (trust("other.pem", Some(&client)), "another authority"),
        (trust("ca.pem", None), "no client certificate"),
        (trust("ca.pem", Some(&stranger)), "the client certificate of another authority"),
        (None, "no trust but the system's"),
    ] {
        let refused = Etcd::connect(&settings(&server.endpoint(), tls, None)).await;
        assert!(refused.is_err(), "{what}");
    }
}

#[tokio::test]
async fn an_etcd_that_asks_for_a_password_gets_it_from_its_file() {
    let server = Server::start().await;
    let mut admin = server.connect("/").await.client;
    admin.user_add("root", "a-password-of-etcd", None).await.unwrap();
    admin.role_add("root").await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.auth_enable().await.unwrap();
    let directory = testing::directory();
    for (password, is_right) in [("a-password-of-etcd\n", true), ("another", false)] {
        let file = directory.path().join("password");
        fs::write(&file, password).unwrap();
        let settings = settings(&server.endpoint(), None, Some(("root".to_owned(), SecretRef::File(file))));
        assert!(!format!("{settings:?}").contains("a-password"));
        match Etcd::connect(&settings).await {
            Ok(engine) => {
                assert!(is_right);
                engine.commit(put("as root")).await.unwrap();
            }
            Err(error) => assert!(!is_right, "{error:?}"),
        }
    }
    let anonymous = Etcd::connect(&server.settings("/w/")).await;
    assert!(anonymous.is_err());
}
