//! From text to [`Config`], or to everything that is wrong with it.

use crate::config::Config;
use crate::config::Problem;
use crate::config::meaning;
use crate::config::meaning::Known;
use crate::config::positions;
use crate::config::positions::Flaw;
use crate::config::positions::Position;
use crate::config::positions::Positions;
use crate::config::problem::Place;
use crate::config::problem::Problems;
use crate::config::raw;
use crate::config::structure;
use crate::config::structure::Verdict;

/// Largest file. Ten thousand services fit into half of it, and a parser spends no second on it whatever it holds.
const MAX_BYTES: usize = 1 << 20;

pub(super) fn read(text: &str) -> Result<Config, Vec<Problem>> {
    if text.len() > MAX_BYTES {
        let what = "want a configuration of at most 1 MiB".to_owned();
        return Err(vec![Problem { line: 1, column: 1, path: String::new(), what }]);
    }
    let (positions, repeated) = positions::index(text).map_err(|flaw| vec![problem_of(flaw)])?;
    let repeated: Vec<Problem> = repeated.into_iter().map(problem_of).collect();
    let mut values = raw::values(text).map_err(|not_yaml| {
        let line = not_yaml.line.unwrap_or(Position::START.line);
        let column = not_yaml.column.unwrap_or(Position::START.column);
        vec![Problem { line, column, path: String::new(), what: "this is not YAML".to_owned() }]
    })?;

    let known = Known::of(&values);
    let mut problems = Problems::default();
    let schema = raw::schema();
    let mut verdict = structure::judge(&schema, &mut values, &mut problems);
    if verdict != Verdict::Fits
        && let Some(fields) = values.as_object_mut()
    {
        // Listeners that do not fit have been told. With any others in their place the rest can be read as well.
        fields.insert("listeners".to_owned(), any_listeners());
        verdict = structure::judge(&schema, &mut values, &mut Problems::default());
    }
    let mut config = None;
    if verdict == Verdict::Fits {
        match serde_json::from_value::<raw::File>(values) {
            Ok(file) => {
                let (read, later) = meaning::read(&file, known, &problems);
                problems.add_later(later);
                config = read;
            }
            // Cannot be as long as the schema is derived from the very types that are read here.
            Err(_) => problems.note(&Place::root(), "want a file that fits the schema (`scoregate schema`)"),
        }
    }
    match config {
        Some(config) if problems.is_empty() && repeated.is_empty() => Ok(config),
        Some(_) | None => Err(in_file_order(problems, repeated, &positions)),
    }
}

fn any_listeners() -> serde_json::Value {
    serde_json::json!({ "traffic": [{ "address": "127.0.0.1:1" }], "health": { "address": "127.0.0.1:2" } })
}

fn in_file_order(problems: Problems, mut all: Vec<Problem>, positions: &Positions) -> Vec<Problem> {
    all.extend(problems.into_vec().into_iter().map(|(place, what)| {
        let position = positions.of(&place);
        problem_of(Flaw { position, place, what: what.into() })
    }));
    all.sort_by_key(|problem| (problem.line, problem.column));
    all
}

fn problem_of(flaw: Flaw) -> Problem {
    let Flaw { position, place, what } = flaw;
    Problem { line: position.line, column: position.column, path: place.into_text(), what: what.into_owned() }
}
