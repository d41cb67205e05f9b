//! The laws of the problem, over a few thousand draws.

use std::collections::HashSet;

use super::*;

fn demonstrations(count: u64) -> impl Iterator<Item = Demonstration> {
    (0..count).map(|index| ArithmeticProblem::new(0).demonstration(Split::Train, index))
}

#[test]
fn data_are_a_function_of_seed_split_and_index_and_splits_share_no_expression() {
    for split in Split::ALL {
        for index in 0..200 {
            let problem = ArithmeticProblem::new(3);
            let demonstration = problem.demonstration(split, index);
            assert_eq!(demonstration, problem.demonstration(split, index));
            for expression in [demonstration.expression, problem.expression(split, index)] {
                assert_eq!(Split::of(&expression.to_string()), split);
                assert_eq!(Expression::read(&expression.to_string()), Some(expression));
            }
        }
    }
    let first = |seed| ArithmeticProblem::new(seed).expression(Split::Test, 0);
    assert_ne!(first(3), first(4));
    let distinct: HashSet<Expression> =
        (0..2000).map(|index| ArithmeticProblem::new(0).expression(Split::Train, index)).collect();
    assert!(distinct.len() > 1990);
}

#[test]
fn demonstrations_are_as_wrong_as_they_should_be() {
    let (mut borrowed, mut by_habit, mut others, mut slips) = (0.0, 0.0, 0.0, 0.0);
    for Demonstration { expression, solution } in demonstrations(4000) {
        let mut value = expression.first;
        for ((operation, digit), result) in expression.operations.into_iter().zip(solution.results) {
            if operation.borrows(value, digit) {
                borrowed += 1.0;
                by_habit += f64::from(u8::from(result == digit - value));
            } else {
                others += 1.0;
                slips += f64::from(u8::from(result != operation.result(value, digit)));
            }
            value = result;
        }
    }
    // Where the digits are five apart, the habit gives the right digit.
    assert!((by_habit / borrowed - 0.64).abs() < 0.06, "{}", by_habit / borrowed);
    assert!((slips / others - ArithmeticProblem::SLIP_RATE).abs() < 0.01, "{}", slips / others);
}

#[test]
fn answers_are_read_back() {
    for Demonstration { expression, solution } in demonstrations(500) {
        let right = Solution::of(&expression);
        let reading = Oracle::read(&expression, &right.text(&expression));
        assert_eq!(reading, Reading { answer: Some(expression.answer()), is_right: true, first_wrong: None });
        let reading = Oracle::read(&expression, &solution.text(&expression));
        let first = (0..OPERATIONS).find(|&step| solution.results[step] != right.results[step]);
        assert_eq!((reading.answer, reading.first_wrong), (Some(solution.answer()), first));
        assert_eq!(reading.is_right, solution.answer() == expression.answer());
    }
}

#[test]
fn strange_answers_are_wrong() {
    let expression = Expression::read("3 + 8 x 2 - 5 + 1").unwrap();
    let read = |response: &str| Oracle::read(&expression, response);
    assert_eq!(read(""), Reading { answer: None, is_right: false, first_wrong: Some(0) });
    assert_eq!(read(" 3 + 8 = 1 ;"), Reading { answer: None, is_right: false, first_wrong: Some(1) });
    // Right in spite of its steps.
    assert_eq!(read(" 3 + 8 = 2 ; answer 8"), Reading { answer: Some(8), is_right: true, first_wrong: Some(0) });
    assert_eq!(read(" answer 88").answer, None);
    assert_eq!(read(" answer").answer, None);
    for text in ["", "3 +", "3 + 8 x 2 - 5 + 1 + 1", "3 + 8 x 2 - 5 / 1", "33 + 8 x 2 - 5 + 1"] {
        assert_eq!(Expression::read(text), None, "{text}");
    }
}

#[test]
fn tokens_are_those_of_the_tokenizer() {
    let tokenizer = tokenizer().unwrap();
    let encoded = |text: &str| tokenizer.encode(text, false).unwrap().get_ids().to_vec();
    for Demonstration { expression, solution } in demonstrations(50) {
        assert_eq!(encoded(&format!("sum: {expression}\nsteps:")), prompt_tokens(&expression));
        let (text, tokens) = (solution.text(&expression), response_tokens(&expression, &solution));
        assert_eq!([encoded(&text), vec![0]].concat(), tokens);
        assert_eq!(response_text(&tokens), text);
        assert_eq!(tokens.len(), OPERATIONS * STEP_TOKENS + 3);
    }
    assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(0));
    assert_eq!(response_text(&[9, 259]), " ? 0");
}
