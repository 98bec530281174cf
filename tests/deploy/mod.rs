//! What an operator runs, checked without a cluster: the manifests of `deploy/k8s` by Kubernetes' own schemas and by rules
//! of ours, the chart against the manifests that it is made from, the units of systemd; and the three programs started
//! with exactly the environment and the files that the manifests give; and what observes the containers of compose.

mod chart;
mod manifests;
mod network;
mod observability;
mod pages;
mod release;
mod rules;
mod secrets;
mod start;
mod systemd;
mod tools;
