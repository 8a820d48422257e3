use std::io::Write as _;

use super::*;
use crate::supervisor::status::explained;

fn read(args: &[&str]) -> Result<Settings, String> {
    Settings::read(args.iter().map(Into::into)).map_err(|error| explained(&error))
}

fn with_file(text: &str, args: &[&str]) -> Result<Settings, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    read(&[&["--config", path], args].concat())
}

#[test]
fn options_go_before_the_file_and_the_file_before_defaults() {
    let given = read(&[]).unwrap();
    assert!(given.join.is_none() && given.managers.is_empty());
    assert_eq!(given.data, Path::new("/var/lib/secret-agent"));
    assert_eq!(given.tasks, Path::new("/run/secret-agent"));
    assert_eq!((given.hostname, given.log_level.as_str()), (sys::host::hostname(), "info"));
    assert!(!given.stop_tasks_on_exit && !given.allow_unlocked_memory);

    let text = "
        manager = [\"a:1\", \"b:2\"]
        data = \"/data\"
        tasks = \"/tasks\"
        hostname = \"node-1\"
        join-file = \"/token\"
        log-format = \"json\"
        log-level = \"debug\"
        stop-tasks-on-exit = true
        allow-unlocked-memory = true
    ";
    let given = with_file(text, &[]).unwrap();
    assert_eq!(given.managers, ["a:1", "b:2"]);
    assert_eq!(
        (given.data.as_path(), given.tasks.as_path()),
        (Path::new("/data"), Path::new("/tasks"))
    );
    assert_eq!((given.hostname.as_str(), given.log_level.as_str()), ("node-1", "debug"));
    assert_eq!(given.log_format, LogFormat::Json);
    assert!(given.stop_tasks_on_exit && given.allow_unlocked_memory);
    assert!(matches!(given.join, Some(TokenSource::File(path)) if path == Path::new("/token")));

    let args = [
        "--manager",
        "c:3",
        "--data",
        "/d",
        "--hostname",
        "n",
        "--log-format",
        "text",
        "--join",
        "-",
    ];
    let given = with_file(text, &args).unwrap();
    assert_eq!((given.managers, given.data), (vec!["c:3".to_owned()], PathBuf::from("/d")));
    assert_eq!((given.hostname.as_str(), given.log_format), ("n", LogFormat::Text));
    assert!(matches!(given.join, Some(TokenSource::Input)));
}

#[test]
fn what_is_not_known_or_not_usable_is_named() {
    let said = |result: Result<Settings, String>| result.err().unwrap();
    let error = said(with_file("datta = \"/x\"", &[]));
    assert!(error.contains("unknown field `datta`, expected one of `join-file`"), "{error}");
    let error = said(with_file("manager = \"a:1\"", &[]));
    assert!(error.contains("manager"), "{error}");
    let error = said(with_file("log-format = \"xml\"", &[]));
    assert!(error.contains("unknown variant `xml`, expected `text` or `json`"), "{error}");
    assert!(said(with_file("join = \"token\"", &[])).contains("unknown field `join`"));
    assert!(
        said(read(&["--config", "/no/such"])).starts_with("cannot read the configuration file")
    );
    assert!(said(read(&["--nonsense"])).contains("--nonsense"));
    let error = said(read(&["--manager", "host"]));
    assert_eq!(error, "`host` is not the address of a manager: expected HOST:PORT");
    let error = said(read(&["--hostname=-x"]));
    assert!(error.starts_with("`-x` cannot be the name of a node: "), "{error}");
    assert!(said(read(&["--data", "/x", "--tasks", "/x"])).contains("the same folder"));
    assert!(said(read(&["--join", "x", "--join-file", "y"])).contains("cannot be used with"));
}

#[test]
fn the_command_line_is_sound() {
    use clap::CommandFactory as _;
    Arguments::command().debug_assert();
    let help = Arguments::command().render_long_help().to_string();
    for word in
        ["--join-file", "Examples:", "77", "ps", "TOML", "secretctl cluster join-token agent"]
    {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn every_option_of_the_help_that_can_be_a_key_is_one() {
    use clap::CommandFactory as _;
    let not_keys = ["config", "join", "help", "version"];
    for option in Arguments::command().get_arguments() {
        let name = option.get_long().unwrap();
        if not_keys.contains(&name) {
            continue;
        }
        // Of the wrong type for all of them, so that it is refused for that, not as unknown.
        let error = with_file(&format!("{name} = 7"), &[]).err().unwrap();
        // An enum's key is refused by the parser itself, in its own words.
        let mistyped = ["invalid type: integer `7`", "wanted string or table"];
        assert!(mistyped.iter().any(|words| error.contains(words)), "{error}");
    }
}

#[test]
fn a_token_is_one_line_of_bounded_length() {
    let line = |input: &[u8]| read_line(input).unwrap().to_vec();
    assert_eq!(line(b"token\nrest"), b"token");
    assert_eq!(line(b"token"), b"token");
    assert_eq!(line(b""), b"");
    assert_eq!(line(&[b'x'; TOKEN_BYTES_MAX + 1]).len(), TOKEN_BYTES_MAX);
}

#[test]
fn a_token_file_must_be_private_and_a_token() {
    use std::os::unix::fs::PermissionsExt as _;
    let token = JoinToken {
        id: proto::id::TokenId::from_entropy([1; 17]),
        role: proto::identity::Role::Agent,
        realm: proto::id::Realm::from_bytes([2; 16]),
        ca_digest: [3; 32],
        secret: seal::make_token_secret(),
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{}", token.reveal()).unwrap();
    let source = TokenSource::File(file.path().into());
    assert_eq!(source.read().unwrap().id, token.id);
    assert_eq!(TokenSource::Argument(token.reveal().into()).read().unwrap().id, token.id);
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = source.read().err().unwrap();
    assert!(explained(&error).contains("open to other users"), "{}", explained(&error));
    let error = TokenSource::Argument("nonsense".to_owned().into()).read().err().unwrap();
    assert!(explained(&error).contains("not a join token"), "{}", explained(&error));
    let error = TokenSource::File("/no/such".into()).read().err().unwrap();
    assert!(error.is_not_found());
}
