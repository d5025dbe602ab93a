//! Feature flags: which there are, sets of them, and the rules that gate calls.

use super::Noted;
use super::Read;
use super::Reader;
use super::list_of;
use crate::config::FeatureRule;
use crate::config::Needs;
use crate::config::QueryParameter;
use crate::config::problem::Place;
use crate::config::raw;
use crate::config::suggest::did_you_mean;
use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;

/// The gates of Azure Face: the last segment of the path and the flags of which one is needed. Identify and verify
/// have a flag of their own; detect, findsimilars and group work with face identifiers, so either flag opens them.
/// Detect is free while it is asked to hand out none. Azure takes POST only; an upstream that takes other methods must
/// not be a way around, so the gates stand before every method.
const FACE_GATES: [(&str, &[&str]); 5] = [
    ("identify", &["Face.Identification"]),
    ("verify", &["Face.Verification"]),
    ("detect", &["Face.Identification", "Face.Verification"]),
    ("findsimilars", &["Face.Identification", "Face.Verification"]),
    ("group", &["Face.Identification", "Face.Verification"]),
];

impl Reader {
    /// Numbers the flags that may be named: Azure's three, then those of the file.
    pub(super) fn feature_names(&mut self, written: &[String], at: &Place) -> Read<FeatureNames> {
        let mut names: Vec<&str> = FeatureNames::FACE.to_vec();
        self.each(written, at, |reader, name, at| {
            if names.contains(&name.as_str()) {
                return reader.refuse(at, "want each feature once; Azure's three are always known");
            }
            reader.keep(at, FeatureNames::new(&[name]))?;
            names.push(name);
            Ok(())
        })?;
        self.keep(at, FeatureNames::new(&names))
    }

    pub(super) fn feature_set(&mut self, written: &[String], at: &Place) -> Read<FeatureSet> {
        let each = self.each(written, at, |reader, name, at| {
            let names = reader.features.as_ref().ok_or(Noted)?;
            if let Some(feature) = names.find(name) {
                return Ok(feature);
            }
            let near = did_you_mean(name, names.iter());
            let known = names.to_string();
            reader.refuse(at, format!("there is no feature {name:?}{near}; known are {known}"))
        })?;
        Ok(each.into_iter().fold(FeatureSet::EMPTY, FeatureSet::union))
    }

    pub(super) fn feature_rules(&mut self, written: &raw::Features, at: &Place) -> Read<Vec<FeatureRule>> {
        if written.preset.is_none() && written.rules.is_none() {
            return self.refuse(at, "want a preset, rules, or both");
        }
        let mut rules = match written.preset {
            Some(raw::Preset::Face) => self.face_rules(at)?,
            None => Vec::new(),
        };
        rules.extend(self.each(
            written.rules.as_deref().unwrap_or_default(),
            &at.field("rules"),
            Self::feature_rule,
        )?);
        Ok(rules)
    }

    fn face_rules(&mut self, at: &Place) -> Read<Vec<FeatureRule>> {
        let preset = FACE_GATES.map(|(operation, flags)| raw::FeatureRule {
            methods: None,
            path: format!("/face/{{version}}/{operation}"),
            free_when: (operation == "detect")
                .then(|| raw::FreeWhen { parameter: "returnFaceId".to_owned(), value: "false".to_owned() }),
            any_of: Some(flags.iter().map(|flag| (*flag).to_owned()).collect()),
            all_of: None,
        });
        self.each(&preset, at, Self::feature_rule)
    }

    fn feature_rule(&mut self, written: &raw::FeatureRule, at: &Place) -> Read<FeatureRule> {
        let methods = self.methods(written.methods.as_deref(), &at.field("methods"));
        let path = self.template(&written.path, &at.field("path"));
        let free_when = match &written.free_when {
            Some(free) if free.parameter.is_empty() => {
                self.refuse(&at.field("free_when").field("parameter"), "want the name of a query parameter")
            }
            Some(raw::FreeWhen { parameter, value }) => {
                Ok(Some(QueryParameter { name: parameter.clone(), value: value.clone() }))
            }
            None => Ok(None),
        };
        let needs = match (&written.any_of, &written.all_of) {
            (Some(flags), None) => self.feature_set(flags, &at.field("any_of")).map(Needs::AnyOf),
            (None, Some(flags)) => self.feature_set(flags, &at.field("all_of")).map(Needs::AllOf),
            (any_of, all_of) => {
                let found = list_of(&[("any_of", any_of.is_some()), ("all_of", all_of.is_some())]);
                self.refuse(at, format!("want exactly one of any_of and all_of, found {found}"))
            }
        };
        Ok(FeatureRule { methods: methods?, path: path?, free_when: free_when?, needs: needs? })
    }
}
