//! What holds for every file.

use proptest::prelude::*;

use super::{SMALL, small_with};
use crate::config::{Auth, Config, schema};

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}"),
        Just("{accounts: every}"),
        Just("{keys: none, accounts: every}"),
        Just("{from: [bearer]}"),
        Just("{keys: {directory: /keys}}"),
    ]
    .prop_map(|value| format!("key: {value}"))
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![Just("{}"), Just("{issuers: [own]}"), Just("{audiences: [a, b]}"), Just("{resource: {claim: r}}")]
        .prop_map(|value| format!("token: {value}"))
}

fn public() -> impl Strategy<Value = String> {
    "[a-z ]{0,8}".prop_map(|reason| format!("public: '{reason}'"))
}

proptest! {
    #[test]
    fn no_accepted_service_has_two_auth_modes_or_none(
        key in prop::option::of(key()),
        token in prop::option::of(token()),
        public in prop::option::of(public()),
        reversed in any::<bool>(),
    ) {
        let mut modes: Vec<String> = [&key, &token, &public].into_iter().flatten().cloned().collect();
        if reversed {
            modes.reverse();
        }
        let read = Config::read(&small_with("{key: {}}", &format!("{{{}}}", modes.join(", "))));
        let gives_no_reason = public.as_ref().is_some_and(|public| public.trim_start_matches("public: ").trim_matches(['\'', ' ']).is_empty());
        prop_assert_eq!(read.is_ok(), modes.len() == 1 && !gives_no_reason, "{:?} {:?}", modes, read);
        if let Ok(config) = read {
            let found = match &config.services["iris"].auth {
                Auth::Key(_) => (true, false, false),
                Auth::Token(_) => (false, true, false),
                Auth::Public { .. } => (false, false, true),
            };
            prop_assert_eq!(found, (key.is_some(), token.is_some(), public.is_some()));
        }
    }

    #[test]
    fn a_file_that_was_cut_or_scribbled_into_is_read_or_refused(
        at in 0..SMALL.len(),
        scribble in "[\\[\\]{}:,#&*!|>'\"%@` \n\t\\-a-z0-9\\PC]{0,6}",
        cut in 0..4_usize,
    ) {
        let (before, after) = SMALL.split_at(at);
        let text = format!("{before}{scribble}{}", after.get(cut..).unwrap_or_default());
        match Config::read(&text) {
            Ok(config) => prop_assert!(!config.listeners.traffic.is_empty()),
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                let lines = text.lines().count() + 1;
                prop_assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line) && problem.column > 0));
                prop_assert!(problems.is_sorted_by_key(|problem| (problem.line, problem.column)));
            }
        }
    }

    #[test]
    fn what_the_schema_refuses_is_never_accepted(field in "[a-z_]{1,8}", value in "(\\[\\]|\\{\\}|true|1|x|null|\\[x\\])") {
        let text = small_with("upstream: model", &format!("upstream: model\n    {field}: {value}"));
        let values = crate::config::raw::values(&text);
        let fits = values.is_ok_and(|values| jsonschema::is_valid(&schema(), &values));
        prop_assert!(fits || Config::read(&text).is_err(), "{}", text);
    }
}
