//! `--secret` of `service create`: Docker's forms, with what they lack.
//!
//! `NAME`, or `source=…,target=…,uid=…,gid=…,mode=…,version=…,on-change=…` as one CSV record. Rules and texts
//! are Docker's (docker/cli, opts/swarmopts/secret.go), but for four things: the mode is octal
//! however it is written (there `mode=400` is decimal), a target outside /run/secrets is refused,
//! a version can be pinned, and it can be said what a new one does. Not here: whether the secret exists.
//!
//! Invariant: what parses here the cluster does not refuse for its form.

use std::str::FromStr;

use proto::id::Version;
use proto::name::{NameError, Target};
use proto::spec::{FileMode, OnChange, VersionChoice};

/// A `--secret` option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretOption {
    /// The secret, by name or id, as given.
    pub(crate) source: String,
    /// The file under /run/secrets; the secret's name unless given.
    pub(crate) target: Option<Target>,
    /// Its owner; the task's own user unless given.
    pub(crate) uid: Option<u32>,
    /// Its group; the task's own group unless given.
    pub(crate) gid: Option<u32>,
    /// Its permissions.
    pub(crate) mode: FileMode,
    /// Which version.
    pub(crate) version: VersionChoice,
    /// What a new version does to running tasks.
    pub(crate) on_change: OnChange,
}

/// A `--secret` option makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    /// There is nothing.
    #[error("source is required")]
    Source,
    /// A quote is not where one can be.
    #[error("a quote must enclose a whole field")]
    Quote,
    /// A field is no pair.
    #[error("invalid field '{0}' must be a key=value pair")]
    Pair(String),
    /// A key is not known.
    #[error(
        "invalid field in secret request: {0} (known: source, target, uid, gid, mode, version, \
         on-change)"
    )]
    Key(String),
    /// A key is one of secrets.
    #[error("invalid field in config request: {0} (known: source, target, uid, gid, mode)")]
    ConfigKey(String),
    /// A key is given twice.
    #[error("field '{0}' is given twice")]
    Twice(String),
    /// The mode is no octal number.
    #[error("invalid mode specified: '{0}' is not octal, such as 0400")]
    Octal(String),
    /// The mode is no permission.
    #[error("invalid mode specified: {0:#o} is more than 0o7777")]
    Mode(u32),
    /// An owner is no number.
    #[error("invalid {key} specified: '{value}' is not a number")]
    Owner {
        /// `uid` or `gid`.
        key: &'static str,
        /// What was given.
        value: String,
    },
    /// The version is no number.
    #[error("invalid version specified: '{0}' is not a number from 1 on")]
    Version(String),
    /// There is one way only for a new version to reach a task.
    #[error(
        "invalid on-change specified: '{0}': only 'restart' is there, which redeploys the service; \
         a value is not exchanged under a running task"
    )]
    OnChange(String),
    /// What is pinned does not change.
    #[error("on-change makes no sense with version: a pinned version never changes")]
    PinnedOnChange,
    /// The target is no file name.
    #[error("{0}")]
    Target(#[from] NameError),
    /// The target is elsewhere.
    #[error("target '{0}' is absolute: secrets are mounted under /run/secrets only")]
    Absolute(String),
}

impl FromStr for SecretOption {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fields = fields(text)?;
        let mut option = Self {
            source: String::new(),
            target: None,
            uid: None,
            gid: None,
            mode: FileMode::OWNER_READS,
            version: VersionChoice::Follow,
            on_change: OnChange::default(),
        };
        if let [name] = fields.as_slice()
            && !name.contains('=')
        {
            option.source.clone_from(name);
        } else {
            let mut seen = Vec::new();
            for field in &fields {
                let pair = field.split_once('=').filter(|(key, _)| !key.is_empty());
                let (key, value) = pair.ok_or_else(|| ReferenceError::Pair(field.clone()))?;
                let key = match key.to_ascii_lowercase().as_str() {
                    "src" => "source".to_owned(),
                    key => key.to_owned(),
                };
                if seen.contains(&key) {
                    return Err(ReferenceError::Twice(key));
                }
                option.set(&key, value)?;
                seen.push(key);
            }
            let both = ["version", "on-change"].map(|key| seen.iter().any(|it| it == key));
            if both == [true, true] {
                return Err(ReferenceError::PinnedOnChange);
            }
        }
        if option.source.is_empty() { Err(ReferenceError::Source) } else { Ok(option) }
    }
}

impl SecretOption {
    fn set(&mut self, key: &str, value: &str) -> Result<(), ReferenceError> {
        let owner = |key: &'static str| {
            let digits = value.bytes().all(|b| b.is_ascii_digit());
            let number = value.parse().ok().filter(|_| digits);
            number.map(Some).ok_or_else(|| ReferenceError::Owner { key, value: value.to_owned() })
        };
        match key {
            "source" => value.clone_into(&mut self.source),
            "target" if value.starts_with('/') => {
                return Err(ReferenceError::Absolute(value.to_owned()));
            }
            // As Docker: an empty target is the default one.
            "target" if value.is_empty() => {}
            "target" => self.target = Some(value.parse()?),
            "uid" => self.uid = owner("uid")?,
            "gid" => self.gid = owner("gid")?,
            "mode" => self.mode = parse_mode(value)?,
            "version" => {
                let number = value.parse().ok().filter(|number| *number > 0);
                let number = number.ok_or_else(|| ReferenceError::Version(value.to_owned()))?;
                self.version = VersionChoice::Pinned(Version(number));
            }
            "on-change" if value == "restart" => self.on_change = OnChange::Restart,
            "on-change" => return Err(ReferenceError::OnChange(value.to_owned())),
            _ => return Err(ReferenceError::Key(key.to_owned())),
        }
        Ok(())
    }
}

/// A `--config` option: `NAME`, or `source=…,target=…,uid=…,gid=…,mode=…`. A target may be anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigOption {
    /// The config, by name or id, as given.
    pub(crate) source: String,
    /// The file, from the root folder on; the config's name in its usual place unless given.
    pub(crate) target: Option<Target>,
    /// Its owner; the task's own user unless given.
    pub(crate) uid: Option<u32>,
    /// Its group; the task's own group unless given.
    pub(crate) gid: Option<u32>,
    /// Its permissions.
    pub(crate) mode: FileMode,
}

impl FromStr for ConfigOption {
    type Err = ReferenceError;

    /// The fields that a secret has, too, are read as those of one.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (mut target, mut has_mode, mut rest) = (None, false, Vec::new());
        for field in fields(text)? {
            let (key, value) = field.split_once('=').unwrap_or((&field, ""));
            match key.to_ascii_lowercase().as_str() {
                "version" | "on-change" => return Err(ReferenceError::ConfigKey(key.to_owned())),
                "target" if target.is_some() => return Err(ReferenceError::Twice("target".into())),
                "target" if value.is_empty() => {}
                "target" => target = Some(value.parse()?),
                key => {
                    has_mode |= key == "mode";
                    rest.push(format!("\"{}\"", field.replace('"', "\"\"")));
                }
            }
        }
        let like: SecretOption = rest.join(",").parse()?;
        let mode = if has_mode { like.mode } else { FileMode::ALL_READ };
        Ok(Self { source: like.source, target, uid: like.uid, gid: like.gid, mode })
    }
}

/// `400`, `0400` and `0o400` are all r--------.
fn parse_mode(text: &str) -> Result<FileMode, ReferenceError> {
    let octal = || ReferenceError::Octal(text.to_owned());
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let all_octal = !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    if !all_octal {
        return Err(octal());
    }
    let bits = u32::from_str_radix(digits, 8).map_err(|_| octal())?;
    FileMode::new(bits).map_err(|_| ReferenceError::Mode(bits))
}

/// The fields of one CSV record (RFC 4180): a field in quotes may hold commas, and `""` for a
/// quote.
fn fields(text: &str) -> Result<Vec<String>, ReferenceError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err(ReferenceError::Quote);
            }
            (field.to_owned(), after)
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// The rest of a field after its opening quote, and what follows its comma.
fn quoted_field(text: &str) -> Result<(String, Option<&str>), ReferenceError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or(ReferenceError::Quote)?;
        field.push_str(part);
        if let Some(after) = after.strip_prefix('"') {
            field.push('"');
            rest = after;
        } else if after.is_empty() {
            return Ok((field, None));
        } else if let Some(after) = after.strip_prefix(',') {
            return Ok((field, Some(after)));
        } else {
            return Err(ReferenceError::Quote);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> SecretOption {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    // docker/cli, opts/swarmopts/secret_test.go, and what this project adds.
    #[test]
    fn a_config_is_a_file_anywhere_that_all_may_read() {
        let read = |text: &str| text.parse::<ConfigOption>();
        let site = read("site").unwrap();
        assert_eq!((site.source.as_str(), site.target.as_ref()), ("site", None));
        assert_eq!((site.uid, site.mode), (None, FileMode::ALL_READ));
        let long = read("source=site,target=/etc/site,uid=7,gid=8,mode=0400").unwrap();
        assert_eq!(long.target, Some("/etc/site".parse().unwrap()));
        assert_eq!((long.uid, long.gid, long.mode), (Some(7), Some(8), FileMode::OWNER_READS));
        for (wrong, said) in [
            ("source=site,version=2", "config request: version (known: source, target, uid"),
            ("source=site,target=a,target=b", "field 'target' is given twice"),
            ("target=a", "source is required"),
            ("source=site,target=../a", "target"),
            ("source=site,mode=9", "is not octal"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_docker_accepts_is_accepted() {
        let simple = parsed("app-secret");
        assert_eq!((simple.source.as_str(), simple.target), ("app-secret", None));
        assert_eq!((simple.uid, simple.gid, simple.mode.bits()), (None, None, 0o400));
        assert_eq!(simple.version, VersionChoice::Follow);

        for text in
            ["source=foo,target=testing", "src=foo,target=testing", "SRC=foo,Target=testing"]
        {
            let option = parsed(text);
            assert_eq!(option.source, "foo", "{text}");
            assert_eq!(option.target.unwrap().as_str(), "testing", "{text}");
        }
        let full = parsed("source=foo,target=testing,uid=1000,gid=1001,mode=0444");
        assert_eq!((full.uid, full.gid, full.mode.bits()), (Some(1000), Some(1001), 0o444));
        assert_eq!(parsed("source=foo").target, None);
        assert_eq!(parsed("source=foo,target=").target, None);
        assert_eq!(parsed("source=foo,target=dir/file").target.unwrap().as_str(), "dir/file");
        assert_eq!(parsed("\"source=foo\",\"target=a,b\"").target.unwrap().as_str(), "a,b");
        assert_eq!(parsed("source=foo,\"target=a\"\"b\"").target.unwrap().as_str(), "a\"b");
        assert_eq!(parsed("source=a=b").source, "a=b");
    }

    #[test]
    fn a_mode_is_octal_however_it_is_written() {
        for text in ["400", "0400", "0o400", "00400"] {
            assert_eq!(parsed(&format!("source=foo,mode={text}")).mode.bits(), 0o400, "{text}");
        }
        assert_eq!(parsed("source=foo,mode=7777").mode.bits(), 0o7777);
        assert_eq!(parsed("source=foo,mode=0").mode.bits(), 0);
    }

    #[test]
    fn a_version_can_be_pinned() {
        assert_eq!(parsed("source=foo,on-change=restart").on_change, OnChange::Restart);
        assert_eq!(parsed("source=foo,version=3").version, VersionChoice::Pinned(Version(3)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_as_docker_says_it() {
        for (text, message) in [
            ("", "source is required"),
            ("source=", "source is required"),
            ("target=testing", "source is required"),
            ("source=foo,invalid", "invalid field 'invalid' must be a key=value pair"),
            ("foo,target=testing", "invalid field 'foo' must be a key=value pair"),
            ("source=foo,=x", "invalid field '=x' must be a key=value pair"),
            ("source=foo,", "invalid field '' must be a key=value pair"),
            (
                "source=foo,bar=baz",
                "invalid field in secret request: bar (known: source, target, uid, gid, mode, \
                 version, on-change)",
            ),
            (
                "source=foo,on-change=replace",
                "invalid on-change specified: 'replace': only 'restart' is there, which redeploys \
                 the service; a value is not exchanged under a running task",
            ),
            (
                "source=foo,on-change=restart,version=2",
                "on-change makes no sense with version: a pinned version never changes",
            ),
            ("source=foo,source=bar", "field 'source' is given twice"),
            ("src=foo,source=bar", "field 'source' is given twice"),
            ("source=foo,mode=888", "invalid mode specified: '888' is not octal, such as 0400"),
            ("source=foo,mode=-1", "invalid mode specified: '-1' is not octal, such as 0400"),
            ("source=foo,mode=", "invalid mode specified: '' is not octal, such as 0400"),
            ("source=foo,mode=0x100", "invalid mode specified: '0x100' is not octal, such as 0400"),
            ("source=foo,mode=r", "invalid mode specified: 'r' is not octal, such as 0400"),
            ("source=foo,mode=10000", "invalid mode specified: 0o10000 is more than 0o7777"),
            ("source=foo,uid=root", "invalid uid specified: 'root' is not a number"),
            ("source=foo,gid=-1", "invalid gid specified: '-1' is not a number"),
            ("source=foo,uid=+1", "invalid uid specified: '+1' is not a number"),
            ("source=foo,gid=4294967296", "invalid gid specified: '4294967296' is not a number"),
            ("source=foo,uid=", "invalid uid specified: '' is not a number"),
            ("source=foo,version=0", "invalid version specified: '0' is not a number from 1 on"),
            ("source=foo,version=x", "invalid version specified: 'x' is not a number from 1 on"),
            (
                "source=foo,target=/etc/x",
                "target '/etc/x' is absolute: secrets are mounted under /run/secrets only",
            ),
            ("source=foo,target=../x", "invalid target: `.` and `..` are not allowed in the path"),
            ("source=foo,target=./x", "invalid target: `.` and `..` are not allowed in the path"),
            ("source=\"foo\"", "a quote must enclose a whole field"),
            ("\"source=foo", "a quote must enclose a whole field"),
            ("\"source=foo\"x", "a quote must enclose a whole field"),
        ] {
            let error = text.parse::<SecretOption>().expect_err(text);
            assert_eq!(error.to_string(), message, "{text}");
        }
    }
}
