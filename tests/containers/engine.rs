//! An engine of the test's own, Debian's dockerd or Podman, with all of its files in a folder, and an image
//! of a static busybox that is made on the spot.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sys::require::{self, Need, skip};
use tests::until;

/// Where Debian puts it.
const DOCKERD: &str = "/usr/sbin/dockerd";
const PODMAN: &str = "/usr/bin/podman";
const BUSYBOX: &str = "/bin/busybox";

/// Programs of the images.
const APPLETS: &[&str] =
    &["cat", "chmod", "echo", "grep", "id", "kill", "ls", "mkdir", "sh", "sleep", "stat", "touch"];

/// The image.
pub(crate) const IMAGE: &str = "bb:1";

/// Starts an engine that is a machine of its own, `node1`: a swarm takes three ports, and leaves a
/// bridge and devices.
const APART: &[&str] = &["unshare", "--net", "--uts", "--", "sh", "-c"];
const AS_NODE1: &str =
    "ip link set lo up && echo node1 > /proc/sys/kernel/hostname && exec \"$0\" \"$@\"";

/// Without networks, as dockerd is started here; limits that need no right to raise them, Podman's own
/// being a million files; and no file of the host's.
const PODMANS_CONFIG: &str = r#"
[containers]
netns = "none"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

/// Which engine it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Docker,
    /// As if on a machine of its own.
    DockerApart,
    Podman,
}

impl Kind {
    const fn program(self) -> &'static str {
        if matches!(self, Self::Podman) { PODMAN } else { DOCKERD }
    }

    const fn need(self) -> Need {
        if matches!(self, Self::Podman) { Need::Podman } else { Need::Dockerd }
    }
}

/// A running engine. It is stopped, and everything of it removed, when it is dropped.
pub(crate) struct Engine {
    folder: tempfile::TempDir,
    kind: Kind,
    process: Option<Child>,
}

impl Engine {
    /// Starts a dockerd; none, and it is said, where it cannot be.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::start_where(test, Kind::Docker)
    }

    /// Starts one as if on a machine of its own, of the name `node1`.
    pub(crate) fn start_apart(test: &str) -> Option<Self> {
        Self::start_where(test, Kind::DockerApart)
    }

    /// Starts Podman's service.
    pub(crate) fn start_podman(test: &str) -> Option<Self> {
        Self::start_where(test, Kind::Podman)
    }

    fn start_where(test: &str, kind: Kind) -> Option<Self> {
        if !require::root(test) {
            return None;
        }
        let has_client = Command::new("docker").arg("--version").output();
        let absent = format!("there is no {}", kind.program());
        let missing = if !Path::new(kind.program()).exists() {
            Some(absent.as_str())
        } else if !is_static(Path::new(BUSYBOX)) {
            Some("/bin/busybox is not there, or not static")
        } else if !has_client.is_ok_and(|ran| ran.status.success()) {
            Some("there is no program `docker`")
        } else {
            None
        };
        if let Some(missing) = missing {
            skip(test, kind.need(), missing);
            return None;
        }
        // Short: the path of a unix socket has 107 bytes at most.
        let folder = tempfile::Builder::new().prefix("eng").tempdir_in("/tmp").unwrap();
        let mut engine = Self { folder, kind, process: None };
        if let Err(why) = engine.start_again() {
            let program = kind.program();
            skip(test, kind.need(), &format!("{program} does not run here: {why}"));
            return None;
        }
        engine.make_root();
        engine.import(IMAGE, &[]);
        Some(engine)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("s.sock")
    }

    /// Its folder: images, containers, sockets.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it on what it had, and waits until it answers; says why it does not.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        let path = self.path();
        let log = path.join("log");
        let file = File::options().append(true).create(true).open(&log).unwrap();
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let answers = until("the engine answers, or ends", || {
            let ended = child.try_wait().unwrap().is_some();
            let answers = self.try_docker(&["version"]).is_ok();
            (ended || answers).then_some(answers)
        });
        if !answers {
            let log = fs::read_to_string(&log).unwrap_or_default();
            return Err(log.lines().last().unwrap_or_default().to_owned());
        }
        self.process = Some(child);
        Ok(())
    }

    fn command(&self) -> Command {
        let place = |name: &str| self.path().join(name).display().to_string();
        let socket = format!("unix://{}", place("s.sock"));
        if self.kind == Kind::Podman {
            let folder = sys::file::Folder::open(self.path()).unwrap();
            folder.replace("containers.conf", 0o600, PODMANS_CONFIG.as_bytes()).unwrap();
            let (data, run) = (place("data"), place("exec"));
            let storage = format!(
                "[storage]\ndriver = \"overlay\"\ngraphroot = {data:?}\nrunroot = {run:?}\n"
            );
            folder.replace("storage.conf", 0o600, storage.as_bytes()).unwrap();
            let mut command = Command::new(PODMAN);
            command
                .args(["--tmpdir", &place("tmp"), "system", "service", "--time=0", &socket])
                .env("CONTAINERS_CONF", place("containers.conf"))
                .env("CONTAINERS_STORAGE_CONF", place("storage.conf"));
            return command;
        }
        let is_apart = self.kind == Kind::DockerApart;
        let mut command = Command::new(if is_apart { APART[0] } else { DOCKERD });
        if is_apart {
            command.args(&APART[1..]).args([AS_NODE1, DOCKERD]);
        }
        command
            .args(["--data-root", &place("data"), "--exec-root", &place("exec")])
            .args(["-H", &socket, "--pidfile", &place("pid")])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command
    }

    /// `kill -9`; what runs in containers runs on.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
        // What it had started for all containers goes with it, or hinders the next one.
        let containerd = self.path().join("exec/containerd/containerd.pid");
        if let Ok(pid) = fs::read_to_string(containerd) {
            until("its containerd has ended", || {
                Command::new("kill").args(["-s", "KILL", &pid]).stderr(Stdio::null()).status().ok();
                (!Path::new("/proc").join(&pid).join("exe").exists()).then_some(())
            });
        }
    }

    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let host = format!("unix://{}", self.socket().display());
        let ran = Command::new("docker").args(arguments).env("DOCKER_HOST", host).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if ran.status.success() { Ok(text(ran.stdout)) } else { Err(text(ran.stderr)) }
    }

    /// Types into the docker client at this engine; it must succeed.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// The names of its containers, running or not.
    pub(crate) fn containers(&self) -> Vec<String> {
        let list = ["ps", "--all", "--format", "{{.Names}}"];
        // Podman refuses while it removes one.
        let listed = until("the engine lists its containers", || self.try_docker(&list).ok());
        listed.lines().map(str::to_owned).collect()
    }

    /// The name of the only container that runs, once there is one.
    pub(crate) fn only(&self) -> String {
        until("one container runs", || {
            let listed = self.try_docker(&["ps", "--format", "{{.Names}}"]).ok()?;
            let mut names = listed.lines();
            names.next().filter(|_| names.next().is_none()).map(str::to_owned)
        })
    }

    /// Runs a command in a container; it must succeed.
    pub(crate) fn exec(&self, container: &str, command: &[&str]) -> String {
        self.docker(&[&["exec", container], command].concat())
    }

    /// Makes an image that runs a shell script.
    pub(crate) fn import_script(&self, image: &str, script: &str) {
        let bin = sys::file::Folder::open(self.path().join("root/bin")).unwrap();
        bin.replace("entry", 0o755, script.as_bytes()).unwrap();
        self.import(image, &["--change", "CMD [\"/bin/sh\", \"/bin/entry\"]"]);
    }

    fn make_root(&self) {
        let root = self.path().join("root");
        for folder in ["bin", "etc", "proc", "run", "tmp", "usr"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        for (link, to) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            symlink(to, root.join(link)).unwrap();
        }
        let users = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n";
        let etc = sys::file::Folder::open(root.join("etc")).unwrap();
        etc.replace("passwd", 0o644, users.as_bytes()).unwrap();
    }

    fn import(&self, image: &str, options: &[&str]) {
        let root = self.path().join("root");
        let mut tar = Command::new("tar")
            .args(["-c", "-C", &root.display().to_string(), "."])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let imported = Command::new("docker")
            .arg("import")
            .args(options)
            .args(["-", image])
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .stdin(tar.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(tar.wait().unwrap().success() && imported.status.success(), "{imported:?}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Gone by itself, or about to.
            let pid = process.id().to_string();
            Command::new("kill").args(["-s", "TERM", &pid]).status().ok();
            process.wait().ok();
        }
        // What a killed engine left mounted keeps its folder.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
        for point in points.filter(|point| Path::new(point).starts_with(self.folder.path())) {
            Command::new("umount").args(["--lazy", point]).status().ok();
        }
    }
}

/// Whether an ELF program asks for no interpreter.
fn is_static(program: &Path) -> bool {
    let bytes = fs::read(program).unwrap_or_default();
    let interpreter = b"/ld-linux";
    !bytes.is_empty() && !bytes.windows(interpreter.len()).any(|window| window == interpreter)
}
