//! The runbooks of `docs/operations`, typed as they stand.
//!
//! A test per page sets up the situation that the page is for, and types every block of it, in a
//! shell, on the machine where the page says so. What a page shows is compared with what comes. Not
//! here: what the commands do beyond that; the other tests are about it.
//!
//! Invariant: every `sh` block of every page is typed, or stands in a test, or in [`NOT_TYPED`], with
//! the reason why not.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod desk;
mod losses;
mod machines;
mod pages;
mod reader;
mod services;
mod thefts;

use reader::Page;

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

/// Pages of which nothing is typed, and why.
const NOT_TYPED: &[(&str, &str)] = &[
    ("README.md", "where to look first: a list of what the other pages type"),
    ("docker.md", "needs the docker client: `tests/docker` types its sessions"),
];

/// A test for each page, which fails if a block of the page is left.
macro_rules! runbooks {
    ($($page:literal => $module:ident::$test:ident,)*) => {
        $(
            #[test]
            fn $test() {
                let mut page = Page::read($page);
                $module::$test(&mut page);
                page.assert_all_typed();
            }
        )*

        const TYPED: &[&str] = &[$($page),*];
    };
}

runbooks! {
    "lock.md" => pages::lock,
    "unlock.md" => pages::unlock,
    "rotate-log-key.md" => pages::rotate_log_key,
    "rotate-root-key.md" => pages::rotate_root_key,
    "rotate-unlock-key.md" => pages::rotate_unlock_key,
    "rotate-ca.md" => pages::rotate_ca,
    "rotate-certificates.md" => pages::rotate_certificates,
    "unlock-slots.md" => pages::unlock_slots,
    "shred-secret.md" => pages::shred_secret,
    "rotate-secret.md" => pages::rotate_secret,
    "evict-node.md" => losses::evict_node,
    "peers.md" => losses::peers,
    "replace-manager.md" => losses::replace_manager,
    "lost-quorum.md" => losses::lost_quorum,
    "backup.md" => losses::backup,
    "restore.md" => losses::restore,
    "lost-unlock-key.md" => thefts::lost_unlock_key,
    "stolen-disk.md" => thefts::stolen_disk,
    "evicted-manager.md" => thefts::evicted_manager,
    "install.md" => machines::install,
    "upgrade.md" => machines::upgrade,
    "disk-full.md" => machines::disk_full,
    "update-service.md" => services::update_service,
    "stacks.md" => services::stacks,
}

#[test]
fn every_page_is_typed_or_says_why_not() {
    let mut left = Vec::new();
    for entry in std::fs::read_dir(reader::folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let known = TYPED.contains(&name) || NOT_TYPED.iter().any(|(page, _)| *page == name);
        if !known && reader::has_blocks(&std::fs::read_to_string(&path).unwrap()) {
            left.extend(Page::read(name).places());
        }
    }
    assert!(left.is_empty(), "nobody types, and nobody says why not:\n{}", left.join("\n"));
    for (name, _) in NOT_TYPED {
        let text = std::fs::read_to_string(reader::folder().join(name)).unwrap();
        assert!(reader::has_blocks(&text), "{name} has nothing to type, and needs no reason");
    }
}
