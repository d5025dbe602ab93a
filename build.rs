//! Tells the program which commit it is built from.

use std::process::Command;

fn main() {
    // A file that is not there would count as changed each time, and `.git` of a further worktree is no directory.
    for path in ["HEAD", "logs/HEAD"].into_iter().filter_map(|path| git(&["rev-parse", "--git-path", path])) {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=SCOREGATE_COMMIT");
    let given = std::env::var("SCOREGATE_COMMIT").ok();
    let commit =
        given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"])).unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo:rustc-env=SCOREGATE_COMMIT={commit}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
