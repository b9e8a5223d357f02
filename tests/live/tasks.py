"""Two small tasks for small models: one module that classifies, and two that read and count."""

from __future__ import annotations

import random
from typing import Any, Literal

from pipelines import Module, Pipeline

Subject = Literal["math", "psychology", "biology", "economics"]

CLASSIFY = Pipeline(
    "subject",
    [
        Module(
            "classify",
            "question -> subject: Literal['math', 'psychology', 'biology', 'economics']",
            instructions="Name the subject of the exam question.",
            temperature=0.0,
        )
    ],
)
FIND_COUNT = Pipeline(
    "find-count",
    [
        Module(
            "find",
            "notes, question -> sentence",
            instructions="Copy the sentence of the notes that answers the question.",
            temperature=0.0,
        ),
        Module(
            "count",
            "sentence, question -> answer: int",
            instructions="Answer the question with a number.",
            temperature=0.0,
        ),
    ],
)

_QUESTIONS = {
    "math": """
        What is the derivative of x squared?
        Solve for x: 3x + 5 = 20.
        How many primes are there between 10 and 30?
        What is the determinant of the identity matrix?
        Which triangles have three equal sides?
        What is the sum of the angles of a pentagon?
        What is the integral of cos x?
        Is the square root of 2 a rational number?
        How many subsets does a set of five elements have?
        What is the greatest common divisor of 84 and 126?
        What is the slope of the line y = 4x - 7?
        In how many ways can six books be put in a row?
        What is 15 percent of 240?
        For which x is log x equal to zero?
        What is the volume of a cube of side 3?
    """,
    "psychology": """
        Who described classical conditioning with dogs?
        What is the bystander effect?
        Which stage of Piaget's theory comes first?
        What does a Rorschach test ask a patient to do?
        How does a negative reinforcer change behavior?
        What is meant by cognitive dissonance?
        Which need is at the top of Maslow's hierarchy?
        What is the difference between anxiety and fear?
        How long does short-term memory last?
        What did Milgram's experiment show about obedience?
        What does an extravert enjoy according to trait theories?
        What is a placebo effect in a patient's mind?
        What did Freud call the part of the mind that seeks pleasure?
        Which therapy changes how clients think about themselves?
        Why do people conform to a group's opinion?
    """,
    "biology": """
        Which hormone regulates blood sugar?
        What do chloroplasts do in a plant cell?
        Which molecule carries oxygen in red blood cells?
        How many chromosomes does a human cell have?
        What is the function of the ribosome?
        Which organ of a fish takes up oxygen?
        What is produced when yeast ferments sugar?
        How do bacteria become resistant to antibiotics?
        Which kingdom do mushrooms belong to?
        What happens during mitosis?
        What is the role of enzymes in digestion?
        Which blood vessels carry blood away from the heart?
        How does natural selection change a population of moths?
        Which base pairs with adenine in DNA?
        Why do leaves look green?
    """,
    "economics": """
        What happens to demand when the price of a substitute falls?
        What is the opportunity cost of a choice?
        How does a central bank fight inflation?
        What is a monopoly's marginal revenue compared with its price?
        What does gross domestic product measure?
        Who gains from a tariff on imported steel?
        What is the effect of a price ceiling below the equilibrium?
        What does an unemployment rate of 5 percent mean?
        When is the demand for a good elastic?
        What is a public good?
        How does a budget deficit change interest rates?
        What is a country's comparative advantage in trade?
        What do firms in perfect competition earn in the long run?
        Which costs of a firm are fixed?
        How does a subsidy to farmers change the supply of wheat?
    """,
}

_NAMES = ("Ann", "Bob", "Eve", "Tom", "Sue", "Max")
_THINGS = ("pens", "cups", "hats", "maps", "eggs", "keys")


def questions(count: int) -> list[dict[str, Any]]:
    """Rows for `CLASSIFY`: exam questions, of the four subjects in turn; at most 60."""
    lines = [
        [(line.strip(), subject) for line in text.strip().splitlines()]
        for subject, text in _QUESTIONS.items()
    ]
    rows = [{"question": q, "subject": s} for four in zip(*lines, strict=True) for q, s in four]
    return rows[:count]


def notes(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows for `FIND_COUNT`: who bought how many of what."""
    rows = []
    draw = random.Random(seed)
    for _ in range(count):
        names, things = draw.sample(_NAMES, 3), draw.sample(_THINGS, 3)
        numbers = draw.sample(range(2, 60), 3)
        bought = list(zip(names, numbers, things, strict=True))
        name, number, thing = draw.choice(bought)
        rows.append(
            {
                "notes": " ".join(f"{n} bought {k} {t}." for n, k, t in bought),
                "question": f"How many {thing} did {name} buy?",
                "answer": number,
            }
        )
    return rows
