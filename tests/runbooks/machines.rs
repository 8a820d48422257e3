//! Pages on machines: what is installed on them, replaced, and full.

use std::path::{Path, PathBuf};
use std::process::Command;

use sys::require;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::desk::Desk;
use crate::losses::free_port;
use crate::pages::{await_phase, await_voters, first_word, serve};
use crate::reader::Page;

/// Exit status of what may succeed later.
const UNAVAILABLE: i32 = 69;

fn own_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// A manager's machine before anything is on it.
fn bare_manager(lab: &mut Lab, address: &str) -> (Desk, usize) {
    let config = lab.path().join(format!("desk-m{}/secretd.toml", lab.managers.len() + 1));
    let config = config.display().to_string();
    let index = lab.prepare_manager(&[], &["--config", &config, "--listen", address]);
    let desk = Desk::of_manager(lab, index).with("10.0.0.4:7443", address);
    let (folder, seed) = (desk.folder().display().to_string(), desk.folder().join("seed"));
    let desk = desk.with("/etc/secretd", &folder).with("/srv/secretd-seed", seed.to_str().unwrap());
    (desk.with("-o secretd -g secretd", "-o $(id -u) -g $(id -g)"), index)
}

pub(crate) fn install(page: &mut Page) {
    let mut lab = Lab::new(PROGRAMS);
    page.not_typed("cargo build", "builds what this test runs, for many minutes");
    let addresses: Vec<_> = (0..3).map(|_| own_address()).collect();
    let block = page.block("useradd");
    for (index, address) in addresses.iter().enumerate() {
        let (desk, _) = bare_manager(&mut lab, address);
        desk.types(&mut lab, &block);
        await_phase(&lab, index, "empty");
    }
    let first = Desk::of_manager(&lab, 0).with("cluster init", "cluster init --hostname m1");
    let block = page.block("secretctl cluster init");
    let mut token = first_word(&first.types(&mut lab, &block)[1]);
    let block = page.block("secretctl cluster join 10.0.0.4:7443");
    for index in [1, 2] {
        let join = format!("cluster join --hostname m{}", index + 1);
        let desk = Desk::of_manager(&lab, index)
            .with("cluster join", &join)
            .with("10.0.0.4:7443", &addresses[0]);
        desk.types_and_answers(&mut lab, &block, |_, text, _| {
            text.contains("--token -").then(|| token.clone())
        });
        token = lab.token("manager");
    }
    await_voters(&lab, 3);
    // What the pages have put into the files is what the managers go by.
    assert_eq!(lab.addresses(), addresses);
    for index in 0..3 {
        let desk = Desk::of_manager(&lab, index);
        assert!(desk.folder().join("seed/unlock-seed").exists(), "the seed is where it was put");
        assert!(!lab.managers[index].data.join("unlock-seed").exists());
        let log = lab.managers[index].daemon.log();
        assert!(log.lines().all(|line| line.starts_with('{')), "it logs as JSON: {log}");
    }

    let block = page.block("secretctl cluster join-token --quiet agent");
    let token = first_word(&first.types(&mut lab, &block)[0]);
    let config = lab.path().join("desk-n1/secret-agent.toml").display().to_string();
    let agent = lab.prepare_agent("n1", &["--config", &config]);
    let node = Desk::of_agent(&lab, agent);
    let folder = node.folder().display().to_string();
    let mut node = node.with("/etc/secret-agent", &folder);
    for (written, address) in
        ["10.0.0.4:7443", "10.0.0.5:7443", "10.0.0.6:7443"].iter().zip(&addresses)
    {
        node = node.with(written, address);
    }
    let block = page.block("install -d -m 0700 /etc/secret-agent");
    node.types_and_answers(&mut lab, &block, |lab, text, _| {
        if text.starts_with("rm ") {
            lab.await_node("n1", "ready");
        }
        text.contains("cat > ").then(|| token.clone())
    });
    assert!(!node.folder().join("token").exists());

    let alice = Desk::of_manager(&lab, 0)
        .with("10.0.0.4:7443", &addresses[0])
        .with("10.0.0.5:7443", &addresses[1]);
    let block = page.block("secretctl operator add alice");
    alice.types_and_answers(&mut lab, &block, |_, _, said| said.first().map(first_word));
}

/// Whether a process runs the file that is there now. These are not dumpable, so that root alone may
/// look: for others it is enough that it is another process than before.
fn runs_the_new(pid: u32) -> bool {
    let link = Path::new("/proc").join(pid.to_string()).join("exe");
    match std::fs::read_link(link) {
        Ok(named) => !named.to_string_lossy().ends_with(" (deleted)"),
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// One version is all that there is: what is shown is that each program is replaced and started again
/// as the page says, and that nothing else stops.
pub(crate) fn upgrade(page: &mut Page) {
    let installed = tempfile::Builder::new().prefix("bin").tempdir_in("/tmp").unwrap();
    let program = installed.path().join("programs");
    std::fs::copy(PROGRAMS, &program).unwrap();
    let mut lab = Lab::with_managers(program.to_str().unwrap(), 3);
    await_voters(&lab, 3);
    let agent = lab.agent("n1");
    // As the unit has it: tasks run on without their agent.
    lab.agents[agent].daemon.arguments().retain(|word| word != "--stop-tasks-on-exit");
    lab.agents[agent].daemon.stop();
    lab.agents[agent].daemon.start_again();
    lab.ctl().ok_with(&["create", "db_password", "-"], b"value");
    serve(&lab, "web", "db_password");
    let task = lab.await_tasks("web", 1, "running").remove(0)["id"].clone();

    let path = program.display().to_string();
    let desk = |lab: &Lab, index: usize| {
        let desk = Desk::of_manager(lab, index);
        desk.with("secretd.new", PROGRAMS).with("/usr/local/bin/secretd", &path)
    };
    let leader = lab.leader();
    let block = page.block("secretctl cluster status");
    desk(&lab, leader).types(&mut lab, &block);
    let block = page.block("install -m 0755 secretd.new");
    let agent_before = lab.agents[agent].daemon.pid();
    for index in [(leader + 1) % 3, (leader + 2) % 3, leader] {
        let before = lab.managers[index].daemon.pid();
        desk(&lab, index).types(&mut lab, &block);
        let now = lab.managers[index].daemon.pid();
        assert!(now != before && runs_the_new(now), "the new one runs");
        until("it is a voter that is reached", || {
            let members = lab.members();
            let name = format!("m{}", index + 1);
            let one = members.iter().find(|member| member["hostname"] == *name)?;
            (one["state"] == "voter" && one["reachable"] == true).then_some(())
        });
    }
    assert_eq!(lab.agents[agent].daemon.pid(), agent_before, "the agent is that of before");
    let node = Desk::of_agent(&lab, agent)
        .with("secret-agent.new", PROGRAMS)
        .with("/usr/local/bin/secret-agent", &path);
    let block = page.block("install -m 0755 secret-agent.new");
    node.types(&mut lab, &block);
    let agent_now = lab.agents[agent].daemon.pid();
    assert!(agent_now != agent_before && runs_the_new(agent_now));
    lab.await_node("n1", "ready");
    assert_eq!(lab.await_tasks("web", 1, "running")[0]["id"], task, "the task runs on");
}

/// A small filesystem. It goes when it is dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(size: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("fs").tempdir_in("/tmp").unwrap();
        let options = format!("size={size},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "small"]).arg(folder.path());
        assert!(mount.status().unwrap().success());
        Self(folder)
    }

    /// Fills it, but for so many MiB; gives the file that does.
    fn fill(&self, left_mib: u64) -> PathBuf {
        let df = Command::new("df").args(["--output=avail", "-B1M"]).arg(self.0.path()).output();
        let said = String::from_utf8(df.unwrap().stdout).unwrap();
        let free: u64 = said.lines().last().unwrap().trim().parse().unwrap();
        let file = self.0.path().join("else");
        let size = format!("{}M", free - left_mib);
        let filled = Command::new("fallocate").args(["-l", &size]).arg(&file).status().unwrap();
        assert!(filled.success());
        file
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

pub(crate) fn disk_full(page: &mut Page) {
    const RESERVE_MIB: u64 = 32;
    if !require::root("disk_full") {
        for beginning in ["secretctl cluster status", "systemctl start", "secretctl ls"] {
            page.not_typed(beginning, "a filesystem is mounted by root");
        }
        return;
    }
    // Made before the laboratory, so that it is unmounted after that has ended its managers.
    let small = Mounted::new("256m");
    let mut lab = Lab::new(PROGRAMS);
    let data = small.0.path().join("data").display().to_string();
    let reserve = RESERVE_MIB.to_string();
    lab.start_manager(&["--data", &data, "--disk-reserve-mib", &reserve]);
    lab.managers[0].data = data.into();
    lab.ctl().ok(&["cluster", "init", "--hostname", "m1"]);
    lab.ctl().ok_with(&["create", "old-token", "-"], b"value");
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");
    let ballast = lab.managers[0].data.join("ballast");
    until("it has ballast", || ballast.exists().then_some(()));

    let other = small.fill(RESERVE_MIB / 2 - 4);
    let create = ["--timeout", "1s", "create", "more", "-"];
    let said = until("it refuses", || {
        let ran = lab.ctl().run_with(&create, b"value");
        if ran.status == 0 {
            lab.ctl().ok(&["rm", "more"]);
            return None;
        }
        assert_eq!(ran.status, UNAVAILABLE, "{ran:?}");
        Some(ran.stderr)
    });
    assert!(said.contains("the disk of a manager is nearly full"), "{said}");
    assert!(said.contains("docs/operations/disk-full.md"), "{said}");
    until("the ballast is given up", || (!ballast.exists()).then_some(()));
    let desk = Desk::of_manager(&lab, 0);
    let block = page.block("secretctl cluster status");
    let ran = desk.types(&mut lab, &block);
    assert!(ran[0].stdout.contains("the disk of manager 1 "), "{ran:?}");
    assert!(ran[1].stdout.contains("small"), "{ran:?}");

    // It stopped; somebody makes room.
    lab.managers[0].daemon.kill();
    std::fs::remove_file(other).unwrap();
    let block = page.block("systemctl start secretd");
    desk.types(&mut lab, &block);
    await_phase(&lab, 0, "serving");
    until("there is room again", || {
        (lab.ctl().run_with(&create, b"value").status == 0).then_some(())
    });

    small.fill(RESERVE_MIB / 2 + 4);
    until("it refuses again", || {
        let ran = lab.ctl().run_with(&["--timeout", "1s", "rotate", "more", "-"], b"value");
        (ran.status == UNAVAILABLE).then_some(())
    });
    let block = page.block("secretctl ls");
    let ran = desk.types(&mut lab, &block);
    assert!(ran[0].stdout.contains("old-token") && ran[0].stdout.contains("kept"), "{ran:?}");
}
