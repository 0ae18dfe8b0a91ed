//! Tests of the planner, by what they look at. `scene.rs` is how they write a world.

mod accepted;
mod chance;
mod config;
mod connected;
mod gateway;
mod golden;
mod injection;
mod keys;
mod pods;
mod programmed;
mod scene;
mod status;
mod turns;
mod volumes;
