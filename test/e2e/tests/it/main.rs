//! Ursa end to end: real servers, real kubectl, real containers. One tenant per test.

mod active;
mod autoscale;
mod backup;
mod clients;
mod command_line;
mod components;
mod crash;
mod demo;
mod etcd;
mod faults;
mod hollow;
mod kube_rs;
mod moves;
mod schedulers;
mod scripts;
mod sockets;
mod streams;
mod tenant_life;
mod tenants;
mod workloads;
