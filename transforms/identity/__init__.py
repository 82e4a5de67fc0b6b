"""Who is who: mentions of people, the model that compares them, and the persons that follow."""
