use super::{Continuous, Control, is_control};
use crate::Mdp;
use crate::Rng;
use crate::chance::unit;

/// A place or a way in the plane.
type Point = [f64; 2];

/// Bin picking with a point gripper: in a square of side 2 it fetches an object and drops it into a bin.
///
/// An action has three numbers: a velocity, of which what is longer than 1 is cut, and the command of the gripper, which
/// closes above 0 and is open otherwise. A decision in which the gripper opens or closes moves nothing; in any other it moves by
/// `reach_per_step` times the velocity, at most to the edge of the square, with the object if it holds that. Closing
/// within `tolerance` of the object grasps it. The episode ends when the object is let go within `tolerance` of the
/// bin, or with `horizon`.
///
/// An observation has 8 numbers: the gripper's place, the ways from it to the object and from the object to the bin,
/// and 1 or -1 for closed and for holding.
///
/// # The oracle
/// Each decision costs 1 until the object is in the bin. [`time_to_go`](BinPicking::time_to_go) is the least that the rest
/// can cost, where the last decision of a way may be a part of one: a straight way, one decision for each opening and
/// closing. Minus that is the value, and the [`advantage`](BinPicking::advantage) of a decision is the progress it makes
/// less the 1 that it costs: at most 0, and 0 for a full step straight ahead. Over a segment these sum to the progress
/// less the length, minus the regret of preferences that [CPL](https://arxiv.org/abs/2310.13639) learns from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinPicking {
    /// The most decisions of an episode.
    pub horizon: usize,
    /// The way of the gripper in a decision at full velocity.
    pub reach_per_step: f64,
    /// The distance within which an object can be grasped, and within which it is in the bin.
    pub tolerance: f64,
}

impl Default for BinPicking {
    /// 40 decisions, of which the oracle needs 12 on average.
    fn default() -> Self {
        Self { horizon: 40, reach_per_step: 0.2, tolerance: 0.15 }
    }
}

/// Where things are at the start, in the square from -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scene {
    /// The gripper, open.
    pub gripper: Point,
    /// The object.
    pub object: Point,
    /// The bin, which does not move.
    pub bin: Point,
}

impl Scene {
    /// Draws a scene whose object is at least half a unit from its bin.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut within = |edge: f64| [0; 2].map(|_| edge * (2.0 * unit(rng) - 1.0));
        let gripper = within(1.0);
        loop {
            let (object, bin) = (within(0.8), within(0.8));
            if length(way(object, bin)) >= 0.5 {
                return Self { gripper, object, bin };
            }
        }
    }
}

/// A state of bin picking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picking {
    /// Where things are now.
    pub scene: Scene,
    /// Whether the gripper is closed.
    pub is_closed: bool,
    /// Whether it holds the object.
    pub is_holding: bool,
    /// Number of decisions so far.
    pub time: usize,
}

impl BinPicking {
    /// Whether the object is in the bin.
    pub fn is_done(&self, state: &Picking) -> bool {
        !state.is_holding && length(way(state.scene.object, state.scene.bin)) <= self.tolerance
    }

    /// The least number of decisions until the object is in the bin, with parts of decisions; 0 if it is.
    pub fn time_to_go(&self, state: &Picking) -> f64 {
        if self.is_done(state) {
            return 0.0;
        }
        let time = |way: Point| (length(way) - self.tolerance).max(0.0) / self.reach_per_step;
        let Scene { gripper, object, bin } = state.scene;
        let carrying = time(way(object, bin)) + 1.0;
        if state.is_holding {
            return carrying;
        }
        let opening = if state.is_closed { 1.0 } else { 0.0 };
        opening + time(way(gripper, object)) + 1.0 + carrying
    }

    /// The oracle's advantage of a decision: the change in value less its cost of 1; at most 0.
    pub fn advantage(&self, state: &Picking, action: &Control) -> f64 {
        self.time_to_go(state) - self.time_to_go(&self.step(state, action)) - 1.0
    }

    /// The oracle's action: straight ahead at full velocity, and the gripper's command in its time.
    pub fn oracle(&self, state: &Picking) -> Control {
        let Scene { gripper, object, bin } = state.scene;
        let (to, command) = match (state.is_holding, state.is_closed) {
            (true, _) => (way(object, bin), 1.0),
            // Opened where it stands: what it could do with closed fingers is to be in the way.
            (false, true) => return vec![0.0, 0.0, -1.0],
            (false, false) => (way(gripper, object), -1.0),
        };
        // Well within, so that an action with a little noise is right too.
        if length(to) <= 0.7 * self.tolerance {
            return vec![0.0, 0.0, -command];
        }
        let scale = length(to).max(self.reach_per_step);
        vec![to[0] / scale, to[1] / scale, command]
    }
}

impl Mdp for BinPicking {
    type Context = Scene;
    type State = Picking;
    type Action = Control;

    fn start(&self, scene: &Scene) -> Picking {
        Picking { scene: *scene, is_closed: false, is_holding: false, time: 0 }
    }

    fn step(&self, state: &Picking, action: &Control) -> Picking {
        let mut next = Picking { time: state.time + 1, ..*state };
        let closes = action[2] > 0.0;
        if closes != state.is_closed {
            let Scene { gripper, object, .. } = state.scene;
            next.is_closed = closes;
            next.is_holding = closes && length(way(gripper, object)) <= self.tolerance;
            return next;
        }
        let velocity = [action[0], action[1]];
        let cut = self.reach_per_step / length(velocity).max(1.0);
        for (axis, velocity) in velocity.into_iter().enumerate() {
            let from = state.scene.gripper[axis];
            let to = (from + cut * velocity).clamp(-1.0, 1.0);
            next.scene.gripper[axis] = to;
            if state.is_holding {
                next.scene.object[axis] += to - from;
            }
        }
        next
    }

    fn is_terminal(&self, state: &Picking) -> bool {
        state.time >= self.horizon || self.is_done(state)
    }

    fn allows(&self, _state: &Picking, action: &Control) -> bool {
        is_control(action, self.action_size())
    }
}

impl Continuous for BinPicking {
    fn observation_size(&self) -> usize {
        8
    }

    fn action_size(&self) -> usize {
        3
    }

    fn observe(&self, state: &Picking) -> Vec<f64> {
        let Scene { gripper, object, bin } = state.scene;
        let sign = |is: bool| if is { 1.0 } else { -1.0 };
        let ways = [gripper, way(gripper, object), way(object, bin)];
        ways.into_iter().flatten().chain([sign(state.is_closed), sign(state.is_holding)]).collect()
    }
}

fn way(from: Point, to: Point) -> Point {
    [to[0] - from[0], to[1] - from[1]]
}

fn length(way: Point) -> f64 {
    way[0].hypot(way[1])
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::chance::standard_normal;
    use crate::laws;

    fn scenes(n: usize) -> Vec<Scene> {
        let mut rng = Rng::seed_from_u64(3);
        (0..n).map(|_| Scene::draw(&mut rng)).collect()
    }

    /// The oracle's action with noise on it, and sometimes the opposite command.
    fn noisy(mdp: &BinPicking, state: &Picking, rng: &mut Rng) -> Control {
        let mut action = mdp.oracle(state);
        for number in &mut action {
            *number += 0.7 * standard_normal(rng);
        }
        action
    }

    #[test]
    fn it_keeps_the_laws() {
        let mdp = BinPicking::default();
        let noisy = |state: &Picking, rng: &mut Rng| Some(noisy(&mdp, state, rng));
        laws::check(&mdp, &scenes(5), laws::Walks::default(), &mut Rng::seed_from_u64(0), noisy).unwrap();
        let state = mdp.start(&scenes(1)[0]);
        assert!(!mdp.allows(&state, &vec![0.0; 2]) && !mdp.allows(&state, &vec![0.0, f64::INFINITY, 0.0]));
    }

    #[test]
    fn the_oracle_is_done_in_its_time() {
        let mdp = BinPicking::default();
        for scene in scenes(200) {
            let mut state = mdp.start(&scene);
            let needed = mdp.time_to_go(&state);
            while !mdp.is_terminal(&state) {
                state = mdp.step(&state, &mdp.oracle(&state));
            }
            // Either way may take a part of a decision more, and the oracle goes further in than it must: 0.045 twice.
            let slack = 2.0 + 2.0 * 0.3 * mdp.tolerance / mdp.reach_per_step + 1e-9;
            assert!(mdp.is_done(&state) && state.time as f64 <= needed + slack, "{scene:?}");
            assert!(state.time as f64 + 1e-9 >= needed, "{scene:?}");
        }
    }

    #[test]
    fn no_decision_is_better_than_the_oracles_and_advantages_sum_to_the_regret() {
        let (mdp, mut rng) = (BinPicking::default(), Rng::seed_from_u64(1));
        for scene in scenes(200) {
            let start = mdp.start(&scene);
            let (mut state, mut sum) = (start, 0.0);
            while !mdp.is_terminal(&state) {
                let action = noisy(&mdp, &state, &mut rng);
                let advantage = mdp.advantage(&state, &action);
                assert!(advantage <= 1e-9, "{state:?} {action:?}: {advantage}");
                sum += advantage;
                state = mdp.step(&state, &action);
            }
            let progress = mdp.time_to_go(&start) - mdp.time_to_go(&state);
            assert!((sum - (progress - state.time as f64)).abs() < 1e-9);
        }
    }

    #[test]
    fn a_full_step_ahead_has_no_regret_and_a_drop_on_the_way_costs_two() {
        let mdp = BinPicking::default();
        let state = mdp.start(&Scene { gripper: [-0.6, 0.0], object: [0.6, 0.0], bin: [0.6, 0.8] });
        assert!(mdp.advantage(&state, &vec![5.0, 0.0, -1.0]).abs() < 1e-12);
        assert!((mdp.advantage(&state, &vec![0.0, 0.0, -1.0]) + 1.0).abs() < 1e-12);
        assert!((mdp.advantage(&state, &vec![0.0, 0.0, 1.0]) + 2.0).abs() < 1e-12, "closed with nothing inside");
        let holding = Picking { is_closed: true, is_holding: true, ..state };
        let holding = Picking { scene: Scene { gripper: [0.6, 0.1], ..holding.scene }, ..holding };
        assert!((mdp.advantage(&holding, &vec![1.0, 0.0, -1.0]) + 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_object_is_carried_and_the_square_has_edges() {
        let mdp = BinPicking::default();
        let scene = Scene { gripper: [0.9, 0.0], object: [0.8, 0.1], bin: [0.0, 0.0] };
        let grasped = mdp.step(&mdp.start(&scene), &vec![1.0, 1.0, 1.0]);
        assert!(grasped.is_holding && grasped.scene == scene, "a decision of the gripper moves nothing");
        let moved = mdp.step(&grasped, &vec![0.6, 0.8, 1.0]);
        assert!((moved.scene.gripper[0] - 1.0).abs() < 1e-12 && (moved.scene.gripper[1] - 0.16).abs() < 1e-12);
        assert!((moved.scene.object[0] - 0.9).abs() < 1e-12 && (moved.scene.object[1] - 0.26).abs() < 1e-12);
        assert_eq!(mdp.observe(&moved)[6..], [1.0, 1.0]);
    }
}
