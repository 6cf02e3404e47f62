"""A flower's kind (several classes), whether a flight is late (two), and a fare (a number)."""

from headrace.project import Category, Deployment, Number, Project, prior

FLOWER = [Number(name, 0, 30) for name in ("sepal_length", "sepal_width", "petal_length", "petal_width")]

flower = Deployment("flower", unit="id", inputs=FLOWER)
late = Deployment("late", unit="flight", inputs=[Number("miles"), Category("carrier")], fallback=[prior(0.26)])
fare = Deployment("fare", unit="flight", inputs=[Number("miles"), Number("bags", nullable=True)], answer="fast")
project = Project("clients", deployments=[flower, late, fare])
