//! Secrets, the forms in which they could turn up, and the search for them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Something that must be nowhere, in no form.
#[derive(Debug)]
pub(super) struct Secret {
    name: String,
    pub(super) text: String,
    /// Whether anybody sends it; others lie in files only.
    pub(super) is_sent: bool,
    forms: Vec<(&'static str, String)>,
}

impl Secret {
    /// A key.
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), is_sent: true, forms: forms(text) }
    }

    /// One that nobody sends.
    pub(super) fn kept(name: &str, text: &str) -> Self {
        Self { is_sent: false, ..Self::new(name, text) }
    }

    /// A token, whose signature is a secret by itself: the rest of it are claims.
    pub(super) fn token(name: &str, text: String) -> Self {
        let signature = text.rsplit('.').next().unwrap_or_default();
        assert!(signature.len() > 20, "{name}: {text}");
        Self { name: name.to_owned(), forms: forms(signature), is_sent: true, text }
    }
}

/// Every form of a text that a log line, a header or an encoded body could hold.
fn forms(text: &str) -> Vec<(&'static str, String)> {
    let quoted = serde_json::Value::from(text).to_string();
    let mut forms = vec![
        ("plain", text.to_owned()),
        ("quoted", quoted.trim_matches('"').to_owned()),
        ("quoted twice", serde_json::Value::from(quoted).to_string().replace("\\\"\"", "").replace("\"\\\"", "")),
    ];
    for (name, spare) in [("percent-encoded", true), ("percent-encoded throughout", false)] {
        let encoded = percent(text, spare);
        forms.push((name, encoded.to_ascii_lowercase()));
        forms.push((name, encoded));
    }
    for before in 0..3 {
        let bytes = [vec![b'x'; before], text.as_bytes().to_vec()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let mut encoded = engine.encode(&bytes);
            if bytes.len() % 3 > 0 {
                // Its bits are shared with what follows.
                encoded.pop();
            }
            forms.push(("base64", encoded.split_off([0, 2, 3][before])));
        }
    }
    let hexadecimal = text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").unwrap();
        all
    });
    forms.push(("hexadecimal", hexadecimal.to_ascii_uppercase()));
    forms.push(("hexadecimal", hexadecimal));
    forms.sort_by(|one, other| one.1.cmp(&other.1));
    forms.dedup_by(|one, other| one.1 == other.1);
    forms
}

/// Each byte as `%XX`; letters and digits may be spared.
pub(super) fn percent(text: &str, spare: bool) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if spare && byte.is_ascii_alphanumeric() {
            all.push(char::from(byte));
        } else {
            write!(all, "%{byte:02X}").unwrap();
        }
        all
    })
}

/// Everything that was seen, each with its name.
#[derive(Debug, Default)]
pub(super) struct Outputs(Vec<(String, String)>);

impl Outputs {
    pub(super) fn add(&mut self, what: &str, text: String) {
        self.0.push((what.to_owned(), text));
    }

    /// What holds which secret, and in which form.
    pub(super) fn search(&self, secrets: &[Secret]) -> Vec<String> {
        let mut found = Vec::new();
        for (what, text) in &self.0 {
            for secret in secrets {
                for (form, needle) in &secret.forms {
                    // Lower case of a percent-encoded text is its own letters' as well.
                    let Some(at) = text.find(needle.as_str()) else { continue };
                    let around = text.split_at(at).0.chars().rev().take(120).collect::<Vec<_>>();
                    let around: String = around.into_iter().rev().collect();
                    found.push(format!("{what} holds {} ({form}), after {around:?}", secret.name));
                }
            }
        }
        found
    }
}

#[test]
fn a_secret_is_found_in_each_form() {
    let secret = Secret::new("a key", "Taint+primary/key=91c2");
    for text in [
        "before Taint+primary/key=91c2 after".to_owned(),
        format!("?k={}&x", percent(&secret.text, true)),
        format!("?k={}&x", percent(&secret.text, false).to_ascii_lowercase()),
        STANDARD_NO_PAD.encode("user:Taint+primary/key=91c2 and more"),
        STANDARD_NO_PAD.encode("userr:Taint+primary/key=91c2"),
        URL_SAFE_NO_PAD.encode("userrr:Taint+primary/key=91c2?"),
        "5461696e742b7072696d6172792f6b65793d39316332".to_owned(),
    ] {
        let mut outputs = Outputs::default();
        outputs.add("it", text.clone());
        assert_eq!(outputs.search(&[Secret::new("a key", &secret.text)]).len(), 1, "{text}");
    }
    let mut outputs = Outputs::default();
    outputs.add("it", "Taint+primary/key".to_owned());
    assert!(outputs.search(&[secret]).is_empty());
}
