//! Rules of shape that neither the compiler nor clippy checks: layers, homes of crates, sizes, headers, paths.
//!
//! Each rule is a function from one file to its problems and a test that applies it to the repository. The last test
//! feeds every rule what it forbids, so that a rule that finds nothing any more is noticed.

#[path = "tidy/configuration.rs"]
mod configuration;
#[path = "tidy/threat_model.rs"]
mod threat_model;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

/// Crates that may be named in certain modules of `src/` only; a home is a file without `.rs`, or a directory.
const HOMES: &[(&str, &[&str])] = &[
    ("serde_yaml", &["src/config/raw"]),
    ("jsonwebtoken", &["src/tokens"]),
    ("arc_swap", &["src/snapshot/live"]),
    ("redb", &["src/store"]),
    ("etcd_client", &["src/store"]),
    ("prometheus", &["src/observe", "src/health"]),
    ("rustix", &["src/cli", "src/server/service_manager"]),
    ("listenfd", &["src/server/activation"]),
];

/// A file that is longer is reported, for somebody to look for its seam.
const LONG_LINES: usize = 400;

/// A file that is longer fails.
const TOO_LONG_LINES: usize = 600;

/// What `.gitignore` keeps out of the repository, and the repository's own data.
const NOT_OURS: &[&str] = &[".git", "target", "state"];

/// A text file of the repository; `path` is relative to its root, with `/`.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The top module that a file belongs to; `None` outside `src/` and for the two roots, which see everything.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let module = inside.split('/').next()?;
        (!["lib", "main"].contains(&module)).then_some(module)
    }

    fn problem(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

#[test]
fn modules_import_only_those_above_them() {
    let order = layers(&fs::read_to_string("src/lib.rs").unwrap());
    assert!(order.len() > 5, "src/lib.rs lists the modules: {order:?}");
    assert_clean(|file| imports_from_below(file, &order));
}

#[test]
fn super_does_not_reach_the_crate_root() {
    assert_clean(supers_at_the_root);
}

#[test]
fn a_use_names_one_module() {
    assert_clean(uses_of_several_modules);
}

#[test]
fn crates_are_named_only_at_home() {
    assert_clean(crates_away_from_home);
}

#[test]
fn a_module_stands_beside_its_directory() {
    assert_clean(mod_files);
}

#[test]
fn a_file_opens_with_what_lives_in_it() {
    assert_clean(missing_header);
}

#[test]
fn no_file_is_too_long() {
    for file in repository().iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        if lines > LONG_LINES {
            // Past the capture of the test harness: the report is for whoever reads a run that passed.
            writeln!(io::stderr(), "note: {} has {lines} lines; is there a seam?", file.path).unwrap();
        }
    }
    assert_clean(too_long);
}

#[test]
fn no_crate_is_compiled_that_was_decided_against() {
    // ring and openssl: one crypto library only (0008). The YAML crates: unmaintained or unsound (0007). rustls-pemfile:
    // unmaintained. Some stand in the lock file as options that nobody takes, so the tree is asked.
    const AGAINST: [&str; 9] = [
        "ring ",
        "openssl ",
        "openssl-sys ",
        "native-tls ",
        "serde_yaml ",
        "serde_yml ",
        "serde_norway ",
        "rustls-pemfile ",
        "webpki-roots ",
    ];
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--all-features", "--edges", "normal,build,dev", "--prefix", "none"])
        .output()
        .expect("cargo runs");
    let crates = String::from_utf8(tree.stdout).expect("names are text");
    assert!(crates.contains("aws-lc-rs "), "cargo tree said: {}", String::from_utf8_lossy(&tree.stderr));
    let found: Vec<&str> = crates.lines().filter(|line| AGAINST.iter().any(|name| line.starts_with(name))).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn nothing_is_unsafe() {
    // The compiler enforces the first half; what it can't see is that the lint is taken out.
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    assert!(manifest.contains("\nunsafe_code = \"forbid\"\n"), "Cargo.toml forbids unsafe code");
    assert_clean(anything_unsafe);
}

#[test]
fn nothing_names_a_path_of_a_build_machine() {
    assert_clean(machine_paths);
}

/// Modules in the order of their `pub mod` lines.
fn layers(lib: &str) -> Vec<String> {
    lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

fn imports_from_below(file: &File, order: &[String]) -> Vec<String> {
    let Some(own) = file.module() else { return Vec::new() };
    let place = |module: &str| order.iter().position(|listed| listed == module);
    let Some(own_place) = place(own) else {
        return vec![file.problem(1, &format!("`{own}` is not listed in src/lib.rs"))];
    };
    let tokens = tokens(&file.text);
    let paths = tokens.windows(3).filter_map(|window| match window {
        [root, colons, module] if root.text == "crate" && colons.text == "::" => Some(module),
        _ => None,
    });
    paths
        .filter_map(|module| match place(module.text) {
            Some(other) if other <= own_place => None,
            Some(_) => {
                Some(file.problem(
                    module.line,
                    &format!("`{own}` imports `{}`, which is below it in src/lib.rs", module.text),
                ))
            }
            // Said by the rule for `use`.
            None if module.text == "{" => None,
            None => Some(file.problem(module.line, &format!("`{}` is not listed in src/lib.rs", module.text))),
        })
        .collect()
}

/// Finds `super::` that leaves the top module: it would name a layer without saying `crate::`.
fn supers_at_the_root(file: &File) -> Vec<String> {
    if file.module().is_none() {
        return Vec::new();
    }
    // `src/a.rs` is one below the root, `src/a/b.rs` two.
    let depth = file.path.split('/').count() - 1;
    let mut inline: Vec<bool> = Vec::new();
    let mut problems = Vec::new();
    let (mut before, mut before_that) = ("", "");
    let mut climbed = 0;
    for token in tokens(&file.text) {
        let ends_climb = before == "::" && token.text != "super";
        if ends_climb && climbed >= depth + inline.iter().filter(|module| **module).count() {
            problems.push(file.problem(token.line, "`super` reaches the crate root; write `crate::`"));
        }
        match token.text {
            "{" => inline.push(before_that == "mod"),
            "}" => {
                inline.pop();
            }
            "super" => climbed += 1,
            "::" => {}
            _ => climbed = 0,
        }
        (before_that, before) = (before, token.text);
    }
    problems
}

/// Finds `use crate::{a, b}` and `use crate::a::{b::C, d::E}`.
fn uses_of_several_modules(file: &File) -> Vec<String> {
    let tokens = tokens(&file.text);
    let starts = tokens.windows(2).enumerate().filter_map(|(at, window)| match window {
        [first, second] if first.text == "use" && second.text == "crate" => Some((at, first.line)),
        _ => None,
    });
    starts
        .filter(|(at, _line)| {
            let statement: Vec<&str> =
                tokens.iter().skip(*at).map(|token| token.text).take_while(|text| *text != ";").collect();
            let at_root = statement.get(3) == Some(&"{");
            at_root || statement.iter().skip_while(|text| **text != "{").any(|text| *text == "::")
        })
        .map(|(_at, line)| file.problem(line, "one `use` names one module"))
        .collect()
}

fn crates_away_from_home(file: &File) -> Vec<String> {
    if !file.path.starts_with("src/") {
        return Vec::new();
    }
    let is_home = |home: &&str| {
        let rest = file.path.strip_prefix(home);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    let tokens = tokens(&file.text);
    let named = tokens.windows(3).filter_map(|window| match window {
        [before, name, after] => {
            let (_, homes) = HOMES.iter().find(|(crate_name, _)| *crate_name == name.text)?;
            let is_crate = before.text != "::" && (after.text == "::" || before.text == "use");
            (is_crate && !homes.iter().any(is_home)).then_some((name, homes))
        }
        _ => None,
    });
    named
        .map(|(name, homes)| file.problem(name.line, &format!("`{}` is named only in {}", name.text, homes.join(", "))))
        .collect()
}

fn mod_files(file: &File) -> Vec<String> {
    if file.path.ends_with("/mod.rs") { vec![file.problem(1, "write `name.rs` beside `name/`")] } else { Vec::new() }
}

fn missing_header(file: &File) -> Vec<String> {
    let is_told = !file.is_rust() || file.text.starts_with("//! ");
    if is_told { Vec::new() } else { vec![file.problem(1, "opens with `//!`: what lives here")] }
}

fn too_long(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    let is_too_long = file.is_rust() && lines > TOO_LONG_LINES;
    if is_too_long { vec![file.problem(lines, &format!("at most {TOO_LONG_LINES} lines"))] } else { Vec::new() }
}

/// Finds `unsafe`, and `unsafe_code` where a file would allow it.
fn anything_unsafe(file: &File) -> Vec<String> {
    let tokens = if file.is_rust() { tokens(&file.text) } else { Vec::new() };
    let found = tokens.iter().filter(|token| ["unsafe", "unsafe_code"].contains(&token.text));
    found.map(|token| file.problem(token.line, "nothing is unsafe here")).collect()
}

/// Finds absolute paths that exist on the machine of whoever wrote them and nowhere else.
fn machine_paths(file: &File) -> Vec<String> {
    // Put together here, so that this file passes.
    let roots = ["home", "root", "work"].map(|directory| format!("/{directory}/"));
    // `a/home/b` and `example.org/home/` are other things.
    let is_absolute = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "._-~}*".contains(c));
    let numbered = file.text.lines().zip(1..);
    numbered
        .filter(|(line, _)| {
            roots.iter().any(|root| line.match_indices(root).any(|(at, _)| is_absolute(line.split_at(at).0)))
        })
        .map(|(_, number)| file.problem(number, "an absolute path of a build machine"))
        .collect()
}

fn assert_clean(rule: impl Fn(&File) -> Vec<String>) {
    let problems: Vec<String> = repository().iter().flat_map(rule).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Every text file of the repository.
fn repository() -> Vec<File> {
    let mut files = Vec::new();
    collect(Path::new(""), &mut files);
    assert!(files.iter().any(|file| file.path == "tests/tidy.rs"), "runs in the root of the repository");
    files
}

fn collect(directory: &Path, files: &mut Vec<File>) {
    // Tests run in the root of the package, so that the paths come out relative to it.
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    for entry in fs::read_dir(listed).into_iter().flatten().flatten() {
        let path = directory.join(entry.file_name());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if NOT_OURS.iter().any(|name| path == Path::new(name)) || path.ends_with("__pycache__") {
            continue;
        }
        if is_directory {
            collect(&path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.push(File { path: path.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// A token of Rust: a word, `::`, a literal, or any other single character.
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// The tokens of a source text, without comments. Exact enough for code that compiles and is formatted.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while !rest.is_empty() {
        let (text, after) = rest.split_at(length_of_first(rest));
        let is_code = !text.starts_with(char::is_whitespace) && !text.starts_with("//") && !text.starts_with("/*");
        if is_code {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// How many bytes the first token, comment or white space takes.
fn length_of_first(source: &str) -> usize {
    let end_after = |from: usize, closing: &str| {
        let (_, tail) = source.split_at(from.min(source.len()));
        tail.find(closing).map_or(source.len(), |at| from + at + closing.len())
    };
    let word = source.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(source.len());
    let (name, after) = source.split_at(word);
    if ["r", "br", "cr"].contains(&name) {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after.trim_start_matches('#').starts_with('"') {
            return end_after(word + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    let first = source.chars().next().map_or(0, char::len_utf8);
    match source {
        _ if word > 0 => word,
        _ if source.starts_with("::") => 2,
        _ if source.starts_with("//") => end_after(0, "\n"),
        _ if source.starts_with("/*") => end_after(2, "*/"),
        _ if source.starts_with('"') => quoted(source),
        // The escaped character may itself be a quote.
        _ if source.starts_with("'\\") => end_after(3, "'"),
        // A character, or else the tick of a lifetime.
        _ => match source.char_indices().nth(2) {
            Some((at, '\'')) if source.starts_with('\'') => at + 1,
            _ => first,
        },
    }
}

/// How many bytes a string literal takes, both quotes included.
fn quoted(source: &str) -> usize {
    let mut escaped = false;
    for (at, character) in source.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    source.len()
}

#[test]
fn every_rule_finds_what_it_forbids_and_nothing_else() {
    type Rule = fn(&File) -> Vec<String>;
    let imports: Rule = |file| imports_from_below(file, &["low", "middle", "high"].map(str::to_owned));
    let long: &str = &"//! Long.\n".repeat(TOO_LONG_LINES + 1);
    let machine_path: &str = &["let key = \"", "root", "key\";"].join("/");
    let forbidden: &[(Rule, &str, &str, usize)] = &[
        (imports, "src/middle.rs", "use crate::low::A;\nuse crate::high::B;\n", 2),
        (imports, "src/middle/part.rs", "fn f() {\n    let c = '\"'; crate::high::g(c);\n}\n", 2),
        (imports, "src/middle.rs", "use crate::Anything;\n", 1),
        (imports, "src/unlisted.rs", "//! Nothing.\n", 1),
        (supers_at_the_root, "src/middle.rs", "fn f() {\n    super::high::g();\n}\n", 2),
        (supers_at_the_root, "src/middle/part.rs", "use super::super::high::B;\n", 1),
        (uses_of_several_modules, "src/middle.rs", "use crate::{low, middle};\n", 1),
        (uses_of_several_modules, "src/middle.rs", "\nuse crate::low::{a::A, B};\n", 2),
        (crates_away_from_home, "src/config/rawer.rs", "\n\nuse serde_yaml::Value;\n", 3),
        (crates_away_from_home, "src/model.rs", "//! M.\nuse arc_swap as swap;\n", 2),
        (crates_away_from_home, "src/model.rs", "type Gauge =\n    prometheus::IntGauge;\n", 2),
        (mod_files, "src/middle/mod.rs", "", 1),
        (missing_header, "src/middle.rs", "fn main() {}\n", 1),
        (too_long, "benches/long.rs", long, TOO_LONG_LINES + 1),
        (anything_unsafe, "src/middle.rs", "fn f() {\n    unsafe { g() }\n}\n", 2),
        (anything_unsafe, "src/middle.rs", "#![expect(unsafe_code)]\n", 1),
        (machine_paths, "deploy/unit.toml", machine_path, 1),
    ];
    for (rule, path, text, line) in forbidden {
        let found = rule(&File { path: (*path).to_owned(), text: (*text).to_owned() });
        let want = format!("{path}:{line}: ");
        assert!(
            found.len() == 1 && found.iter().all(|problem| problem.starts_with(&want)),
            "{path} {text:.80}: {found:?}"
        );
    }
    let allowed: &[(Rule, &str, &str)] = &[
        (imports, "src/middle.rs", "use crate::low::A;\nuse crate::middle::part;\npub(crate) struct B;\n"),
        (imports, "src/middle.rs", "//! [`crate::high`]\n/* crate::high */\nconst A: &str = \"\\\"crate::high\";\n"),
        (
            imports,
            "src/middle.rs",
            "const A: &str = r#\"\"crate::high\"#;\nfn f<'a>(c: &'a char) -> bool { *c == '\\'' }\n",
        ),
        (imports, "src/main.rs", "use crate::high::A;\n"),
        (supers_at_the_root, "src/middle.rs", "mod tests {\n    use super::*;\n    fn f() { super::g() }\n}\n"),
        (supers_at_the_root, "src/middle.rs", "pub(super) struct A;\n"),
        (supers_at_the_root, "src/middle/part.rs", "use super::{A, b::B};\n"),
        (uses_of_several_modules, "src/middle.rs", "use crate::low::{\n    A, B,\n};\nuse std::{fmt, io::Read};\n"),
        (crates_away_from_home, "src/config/raw/value.rs", "use serde_yaml::Value;\n"),
        (crates_away_from_home, "src/model.rs", "/// As prometheus::Counter.\nlet prometheus = store::redb::open();\n"),
        (missing_header, "tests/run", "#!/bin/bash\n"),
        (anything_unsafe, "src/middle.rs", "//! Not unsafe.\nconst A: &str = \"unsafe\";\n"),
        (machine_paths, "README.md", "https://example.org/home/ and model/work/x\n"),
    ];
    for (rule, path, text) in allowed {
        let found = rule(&File { path: (*path).to_owned(), text: (*text).to_owned() });
        assert!(found.is_empty(), "{path} {text:.80}: {found:?}");
    }
}
