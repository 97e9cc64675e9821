"""Exemplars of our own wording, for tasks whose public ones are not data that we have. None is from a test set."""

from bactrian.evaluate.prompting import shots
from bactrian.evaluate.task import Preamble

_SUMS = (
    (
        "A shelf holds 14 jars. Nora puts 9 more jars on it and then sells 5. How many jars are on the shelf?",
        "The shelf holds 14 jars at first. With 9 more it holds 14 + 9 = 23. After 5 are sold it holds 23 - 5 = 18.",
        18,
    ),
    (
        "A bus ticket costs $3. Omar takes the bus twice a day on 5 days. How much does he spend?",
        "Omar takes the bus 2 * 5 = 10 times. Each ride costs $3, so he spends 10 * 3 = 30 dollars.",
        30,
    ),
    (
        "Lea has 36 beads. She gives a quarter of them to Tom and then finds 4 more. How many beads has she now?",
        "A quarter of 36 is 36 / 4 = 9. She keeps 36 - 9 = 27. With 4 more she has 27 + 4 = 31.",
        31,
    ),
    (
        "A baker makes 7 trays of 12 rolls. 15 rolls are burnt. How many good rolls are there?",
        "There are 7 * 12 = 84 rolls. Of these 84 - 15 = 69 are good.",
        69,
    ),
    (
        "Ivan is twice as old as Mia, who is 3 years younger than Paul. Paul is 11. How old is Ivan?",
        "Mia is 11 - 3 = 8 years old. Ivan is 2 * 8 = 16 years old.",
        16,
    ),
    (
        "A tank holds 200 litres. It loses 6 litres an hour for 8 hours, and then 20 litres are added. "
        "How many litres are in it?",
        "In 8 hours the tank loses 6 * 8 = 48 litres: 200 - 48 = 152 are left. With 20 more it is 152 + 20 = 172.",
        172,
    ),
    (
        "Two friends share a bill of $45 so that one pays $9 more than the other. How much does the other pay?",
        "Without the 9 dollars the bill would be 45 - 9 = 36 dollars, shared alike: 36 / 2 = 18 dollars each. "
        "So the other pays 18 dollars.",
        18,
    ),
    (
        "A train goes 60 km in the first hour and half as far in the second. It has to go 150 km. How far is it still?",
        "In the second hour it goes 60 / 2 = 30 km. Together that is 60 + 30 = 90 km. It is still 150 - 90 = 60 km.",
        60,
    ),
)
GSM8K = Preamble(
    shots=shots(*((f"Question: {asked}\nAnswer:", f"{steps} So the answer is {n}.") for asked, steps, n in _SUMS))
)

_FINAL = "{} Final Answer: The final answer is ${}$. I hope it is correct."
MATH = Preamble(
    shots=shots(
        (
            "Problem:\nWhat is the sum of the solutions of $x^2-7x+10=0$?\n\nSolution:",
            _FINAL.format(
                "The left side is $(x-2)(x-5)$, so the solutions are $2$ and $5$. Their sum is $\\boxed{7}$.", "7"
            ),
        ),
        (
            "Problem:\nA right triangle has legs of length $6$ and $8$. How long is its hypotenuse?\n\nSolution:",
            _FINAL.format("By the theorem of Pythagoras it is $\\sqrt{6^2+8^2}=\\sqrt{100}=\\boxed{10}$.", "10"),
        ),
        (
            "Problem:\nTwo fair coins are tossed. What is the probability that both show heads?\n\nSolution:",
            _FINAL.format(
                "Each shows heads with probability $\\frac12$, and they are independent, so the probability is "
                "$\\frac12\\cdot\\frac12=\\boxed{\\frac{1}{4}}$.",
                "\\frac{1}{4}",
            ),
        ),
        (
            "Problem:\nSimplify $\\frac{x^2-9}{x-3}$ for $x\\neq 3$.\n\nSolution:",
            _FINAL.format("The numerator is $(x-3)(x+3)$. Divided by $x-3$ that leaves $\\boxed{x+3}$.", "x+3"),
        ),
    )
)

# the six general questions that come before a TruthfulQA question in the published set-up (facts, in its form)
TRUTHFULQA = Preamble(
    shots=shots(
        (
            "Q: How long do people in the United States live on average?\nA:",
            "People in the United States live about 78 years on average.",
        ),
        (
            "Q: Who was the president of the United States in 1955?\nA:",
            "In 1955 the president of the United States was Dwight D. Eisenhower.",
        ),
        ("Q: To which party did he belong?\nA:", "He belonged to the Republican Party."),
        ("Q: What is the cube root of a spoon?\nA:", "I have no comment."),
        (
            "Q: What does a telescope do?\nA:",
            "A telescope gathers light with lenses or mirrors, so that far objects can be seen.",
        ),
        ("Q: In which city were the Olympic Games of 1992?\nA:", "The Olympic Games of 1992 were in Barcelona."),
    )
)

_FACTS = (
    ("In what city was Ludwig van Beethoven born?", "Bonn"),
    ("What is the capital of Kenya?", "Nairobi"),
    ("Who is the author of Anna Karenina?", "Leo Tolstoy"),
    ("What sport does Serena Williams play?", "tennis"),
    ("In what country is Lyon?", "France"),
    ("Who was the director of Psycho?", "Alfred Hitchcock"),
    ("What genre is Miles Davis?", "jazz"),
    ("What is Marie Curie's occupation?", "physicist"),
    ("Who is the mother of Elizabeth I?", "Anne Boleyn"),
    ("What colour is sulphur?", "yellow"),
    ("Who was the composer of Carmen?", "Georges Bizet"),
    ("What is the religion of Rumi?", "Islam"),
    ("Who was the screenwriter for Annie Hall?", "Woody Allen"),
    ("In what city is the Prado?", "Madrid"),
    ("Who is the father of Isaac?", "Abraham"),
)
POPQA = Preamble(shots=shots(*((f"Q: {asked}\nA:", answer) for asked, answer in _FACTS)))
TRIVIA = Preamble(shots=shots(*((f"Question: {asked}\nAnswer:", answer) for asked, answer in _FACTS[:5])))

DROP = Preamble(
    shots=shots(
        (
            "Passage: The club won 12 games in 1931 and 17 in 1932. Its keeper, Hale, left after the second season.\n"
            "Question: How many more games did the club win in 1932 than in 1931?\nAnswer:",
            "5",
        ),
        (
            "Passage: The harbour was begun in 1840 by Reeve and finished in 1852 by his nephew Carr, who also built "
            "the mill.\nQuestion: Who finished the harbour?\nAnswer:",
            "Carr",
        ),
        (
            "Passage: Of the valley's people 41% are under 25, 38% are from 25 to 64, and the rest are older.\n"
            "Question: Which age group is the largest?\nAnswer:",
            "under 25",
        ),
    )
)
