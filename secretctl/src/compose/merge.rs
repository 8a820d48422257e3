//! Several files of one stack: each is put over those before it.
//!
//! As the docker client does it: what a later file says counts; maps are merged key by key; lists are
//! joined, but a secret of a service by its source; a command is exchanged whole.
//!
//! Invariant: a file that says nothing changes nothing.

use super::{Deploy, Placed, Reservations, Restart, Rolls, SecretUse, Service, Stack};

fn over<T>(place: &mut Option<T>, next: Option<T>) {
    if next.is_some() {
        *place = next;
    }
}

/// Joins two lists; what is there stays once.
fn join<T: PartialEq>(list: &mut Vec<T>, next: Vec<T>) {
    for item in next {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

impl Stack {
    pub(super) fn put_over(&mut self, next: Self) {
        for (name, service) in next.services {
            self.services.entry(name).or_default().put_over(service);
        }
        self.secrets.extend(next.secrets);
        self.configs.extend(next.configs);
    }
}

impl Service {
    fn put_over(&mut self, next: Self) {
        over(&mut self.image, next.image);
        over(&mut self.extension, next.extension);
        over(&mut self.entrypoint, next.entrypoint);
        over(&mut self.command, next.command);
        self.environment.extend(next.environment);
        over(&mut self.user, next.user);
        over(&mut self.working_dir, next.working_dir);
        over(&mut self.stop_signal, next.stop_signal);
        over(&mut self.stop_grace_period, next.stop_grace_period);
        // Several uses of one secret in one file are all meant.
        let is_used = |known: &SecretUse| next.secrets.iter().any(|it| it.source == known.source);
        self.secrets.retain(|known| !is_used(known));
        self.secrets.extend(next.secrets);
        let is_used = |known: &SecretUse| next.configs.iter().any(|it| it.source == known.source);
        self.configs.retain(|known| !is_used(known));
        self.configs.extend(next.configs);
        self.deploy.put_over(next.deploy);
    }
}

impl Deploy {
    fn put_over(&mut self, next: Self) {
        over(&mut self.mode, next.mode);
        over(&mut self.replicas, next.replicas);
        self.labels.extend(next.labels);
        self.update_config.put_over(&next.update_config);
        self.rollback_config.put_over(&next.rollback_config);
        self.restart_policy.put_over(&next.restart_policy);
        self.placement.put_over(next.placement);
        self.resources.reservations.put_over(&next.resources.reservations);
    }
}

impl Rolls {
    fn put_over(&mut self, next: &Self) {
        over(&mut self.parallelism, next.parallelism);
        over(&mut self.delay, next.delay);
        over(&mut self.failure_action, next.failure_action);
        over(&mut self.monitor, next.monitor);
        over(&mut self.max_failure_ratio, next.max_failure_ratio);
        over(&mut self.order, next.order);
    }
}

impl Restart {
    fn put_over(&mut self, next: &Self) {
        over(&mut self.condition, next.condition);
        over(&mut self.delay, next.delay);
        over(&mut self.max_attempts, next.max_attempts);
        over(&mut self.window, next.window);
    }
}

impl Placed {
    fn put_over(&mut self, next: Self) {
        join(&mut self.constraints, next.constraints);
        join(&mut self.preferences, next.preferences);
        over(&mut self.max_replicas_per_node, next.max_replicas_per_node);
    }
}

impl Reservations {
    fn put_over(&mut self, next: &Self) {
        over(&mut self.cpus, next.cpus);
        over(&mut self.memory, next.memory);
    }
}
