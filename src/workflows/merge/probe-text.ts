/** Everyday English that verification scores; repeated where a tokenizer makes fewer than 257 ids of it. */
export const PROBE_TEXT = `The old harbour was quiet that morning. Two boats lay against the wall, and a man
with a grey cap was mending a net on the steps. "You are early," he said to the girl who came down
the lane. "I could not sleep," she answered. "My brother sails at noon, and I want to see him before
he goes." The man nodded and pointed across the water. There was a light on the island, small and
yellow, and it went out as they looked at it. The first bus from the town arrived at seven. It brought
the post, three crates of apples and a teacher who had never seen the sea. She asked how deep it was,
and nobody could tell her. In 1998 the council had paid for a survey: 42 metres at the mouth, 7 at the
quay, and mud below that. By ten o'clock the wind had turned to the north. People shut their windows,
the market closed, and the children were sent home with a letter about the storm. What happened next
is in every newspaper of the county, but the papers leave out the best part: the girl rowed.`;
