//! What is generated from the definition: help, man pages, completions, as golden files.
//!
//! `SECRETD_REGENERATE=1` writes them anew; a difference in review is a difference for users.

use std::fmt::Write as _;
use std::path::Path;

use crate::program::Place;
use crate::transcripts::regenerate;

/// Compares with a golden file, or writes it.
fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if regenerate() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; look at it with SECRETD_REGENERATE=1 and git diff",
        path.display()
    );
}

/// Every visible command, from the names of the man pages.
fn commands(place: &Place) -> Vec<String> {
    let dir = place.path().join("man");
    std::fs::create_dir_all(&dir).unwrap();
    let ran = place.run(&["man", "man"], b"");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn man_pages_are_as_reviewed() {
    let place = Place::new();
    let names = commands(&place);
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let page = std::fs::read_to_string(place.path().join("man").join(&name)).unwrap();
        for section in ["EXAMPLES", "\"EXIT STATUS\"", "FILES", "SECURITY"] {
            assert!(page.contains(&format!(".SH {section}")), "{name} lacks {section}");
        }
        golden(&format!("man/{name}"), &page);
    }
    let whole = place.run(&["man"], b"").stdout;
    let page = std::fs::read_to_string(place.path().join("man/secretctl.1")).unwrap();
    assert_eq!(whole, page);
}

#[test]
fn help_is_as_reviewed() {
    let place = Place::new();
    let mut text = String::new();
    for name in commands(&place) {
        let path = name.trim_end_matches(".1").replace("join-token", "join_token");
        let path = path.replace("set-address", "set_address").replace("log-key", "log_key");
        let path = path.replace("root-key", "root_key").replace("export-docker", "export_docker");
        let path = path.replace("unlock-slot", "unlock_slot").replace("unlock-key", "unlock_key");
        let words: Vec<String> =
            path.split('-').skip(1).map(|word| word.replace('_', "-")).collect();
        let mut args = words.clone();
        args.push("--help".into());
        let ran = place.run(&args, b"");
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{words:?}");
        writeln!(text, "$ secretctl {}\n{}", args.join(" "), ran.stdout).unwrap();
        args.pop();
        args.push("-h".into());
        assert_eq!(place.run(&args, b"").status, 0, "{words:?}");
    }
    golden("help.txt", &text);
}

#[test]
fn completions_are_as_reviewed() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let ran = place.run(&["completion", shell], b"");
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{shell}");
        golden(&format!("completion/secretctl.{shell}"), &ran.stdout);
    }
}
