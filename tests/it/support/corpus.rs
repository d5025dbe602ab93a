//! Hostile requests as data: `tests/<area>/*.yaml`.
//!
//! A file is a list of groups. What a group says stands for each of its cases that does not say otherwise. Cases are
//! listed under `cases`, or made from `each`: a place such as `claims.exp` and the texts that stand there in turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::Mapping;
use serde_yaml::Value;

/// One thing, or several of which any is right.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOf<T> {
    One(T),
    Any(Vec<T>),
}

impl<T> OneOf<T> {
    pub(crate) fn all(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Any(all) => all,
        }
    }
}

/// Cases that are sent one after the other, over one connection as long as that stays open.
#[derive(Debug)]
pub(crate) struct Group<C> {
    pub(crate) name: String,
    pub(crate) cases: Vec<C>,
}

/// The directory of an area.
pub(crate) fn directory(area: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(area)
}

/// Reads every group of an area, but for the files that are named.
pub(crate) fn groups<C: DeserializeOwned>(area: &str, but: &[&str]) -> Vec<Group<C>> {
    let entries = fs::read_dir(directory(area)).expect("the corpus is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a directory can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|is| is == "yaml") && !but.iter().any(|but| path.ends_with(but)));
    paths.sort();
    paths.iter().flat_map(|path| file(path)).collect()
}

fn file<C: DeserializeOwned>(path: &Path) -> Vec<Group<C>> {
    let text = fs::read_to_string(path).expect("a file of the corpus can be read");
    let groups: Vec<Mapping> =
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    groups.into_iter().map(|group| read(path, group)).collect()
}

fn read<C: DeserializeOwned>(path: &Path, mut group: Mapping) -> Group<C> {
    let name = group.remove("group").and_then(|name| name.as_str().map(str::to_owned));
    let name = format!("{}: {}", path.file_stem().unwrap_or_default().display(), name.unwrap_or_default());
    let mut written: Vec<Mapping> =
        group.remove("cases").map(|cases| serde_yaml::from_value(cases).expect(&name)).unwrap_or_default();
    let each: BTreeMap<String, Vec<String>> =
        group.remove("each").map(|each| serde_yaml::from_value(each).expect(&name)).unwrap_or_default();
    for (place, texts) in &each {
        written.extend(texts.iter().map(|text| placed(place, text)));
    }
    let cases = written.into_iter().map(|case| {
        let whole = merged(group.clone(), case);
        serde_yaml::from_value(Value::Mapping(whole.clone()))
            .unwrap_or_else(|error| panic!("{name}: {error} in {whole:?}"))
    });
    Group { cases: cases.collect(), name }
}

/// A case with this text at this place.
fn placed(place: &str, text: &str) -> Mapping {
    let shown: String = text.chars().take(60).collect();
    let mut case = Mapping::new();
    case.insert("name".into(), format!("{place} = {shown}").into());
    let (outer, inner) = place.split_once('.').unwrap_or((place, ""));
    let value = match (outer, inner) {
        ("send", _) => Value::Sequence(vec![text.into()]),
        (_, "") => text.into(),
        (_, member) => Value::Mapping([(Value::from(member), Value::from(text))].into_iter().collect()),
    };
    case.insert(outer.into(), value);
    case
}

/// What the case says over what the group says; members of `header` and `claims` one by one.
fn merged(mut group: Mapping, case: Mapping) -> Mapping {
    for (field, value) in case {
        match (group.get_mut(&field), value) {
            (Some(Value::Mapping(of_group)), Value::Mapping(of_case)) => of_group.extend(of_case),
            (_, value) => {
                group.insert(field, value);
            }
        }
    }
    group
}
